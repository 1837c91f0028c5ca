"""Counters of what this process did, for ``/metrics``: events, closes, payments, alerts, webhooks, rows set aside."""

from typing import Final

from prometheus_client import Counter

EVENTS: Final = Counter("durabill_events", "Events by what became of them: new, skipped or already known.", ["outcome"])
CLOSES: Final = Counter("durabill_closes", "Closes: invoiced, nothing (to bill) or failed.", ["outcome"])
PAYMENTS: Final = Counter("durabill_payment_attempts", "Answers of payment providers, by what they said.", ["outcome"])
ALERTS: Final = Counter("durabill_alerts_fired", "Alerts and thresholds that usage reached.")
WEBHOOKS: Final = Counter("durabill_webhook_attempts", "First attempts of webhooks: succeeded or failed.", ["outcome"])
SET_ASIDE: Final = Counter("durabill_set_aside", "What was set aside so that others go on: outbox or usage.", ["what"])

_NEW, _SKIPPED, _KNOWN = (EVENTS.labels(outcome) for outcome in ("new", "skipped", "known"))


def count_events(*, new: int, skipped: int, known: int) -> None:
    """Count the events of one transaction of ingestion; ``skipped`` ones are new, but do not count."""
    _NEW.inc(new - skipped)
    if skipped:
        _SKIPPED.inc(skipped)
    if known:
        _KNOWN.inc(known)
