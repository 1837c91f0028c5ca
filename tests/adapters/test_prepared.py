"""Prepared statements: a text that stays the same whatever the parameters are."""

import pytest
from sqlalchemy import bindparam, select

from adapters.postgres.prepared import Prepared
from models.tables import metrics


def test_a_list_that_would_be_expanded_at_run_time_is_refused() -> None:
    with pytest.raises(ValueError, match="any_"):
        Prepared(select(metrics).where(metrics.c.aggregation.in_(["sum"]), metrics.c.id == bindparam("metric")))
