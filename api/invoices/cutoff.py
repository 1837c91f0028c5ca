"""Where an invoice that was asked for ends (conflicts C24)."""

from datetime import datetime, timedelta

from api.http.moments import Moment
from billing.period import BillingCycle

_SECOND = timedelta(seconds=1)


def cutoff_end(cutoff: Moment | None, cycle: BillingCycle, *, now: datetime) -> datetime:
    """Return the exclusive end that a cutoff means.

    A boundary of the billing periods is exclusive as it is; any other instant means "through that second", so
    2026-04-30T23:59:59Z ends on 2026-05-01T00:00:00Z. A plain date means through that day of the billing time zone. No
    cutoff means now, everything accepted so far.
    """
    if cutoff is None:
        return _through_second(now)
    if not isinstance(cutoff.value, datetime):
        return Moment(cutoff.text, cutoff.value + timedelta(days=1)).instant(cycle.timezone)
    at = cutoff.value
    if at == cycle.full_period_containing(at).start:
        return at
    return _through_second(at)


def _through_second(at: datetime) -> datetime:
    return at.replace(microsecond=0) + _SECOND
