"""Closing as an activity: one transaction in the name of the subscription's workflow (C5, C8, design section 4)."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.lifecycle import begin_for, scope_of
from adapters.postgres.database import Database
from adapters.postgres.invoices import invoice_store
from adapters.postgres.invoices.invoice_write_store import AlreadyBilled
from adapters.postgres.journal.transaction import Transaction
from billing.invoice import AbsurdInvoice
from billing.money import UnknownCurrency
from models.messages.base import SubscriptionRef
from models.messages.closing import ClosePeriods, InvoiceClosed
from operations.closing import close


class ClosingActivities:
    """The close of one subscription."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="close_periods")
    async def close_periods(self, message: ClosePeriods) -> InvoiceClosed:
        """Bill what is unbilled in `[start, end)`; a second run with the same billing key finds the first invoice.

        What no retry can cure (an absurd amount, a plan that cannot be read) is a non-retryable ApplicationError whose
        type says which, so that the workflow parks the close with it (C10).
        """
        return await billed_once(
            self._database,
            message.subscription,
            message.billing_key,
            lambda begun: close(begun.at(message.at), message),
        )


async def billed_once(
    database: Database,
    ref: SubscriptionRef,
    billing_key: str,
    bill: Callable[[Transaction], Awaitable[InvoiceClosed]],
) -> InvoiceClosed:
    """Bill in one transaction, or answer the invoice that another run has written under the key meanwhile (C8).

    What no retry can cure is a non-retryable ApplicationError (C10).
    """
    with _bill_or_park():
        try:
            async with begin_for(database, ref) as tx:
                return await bill(tx)
        except AlreadyBilled:
            async with database.transaction(scope_of(ref)) as connection:
                known = await invoice_store.by_billing_key(connection, billing_key)
            assert known is not None, "the key that was taken belongs to an invoice"
            return known


@contextmanager
def _bill_or_park() -> Iterator[None]:
    """Turn what no retry can cure into the ApplicationError that the workflow parks a close with (C10)."""
    try:
        yield
    except AbsurdInvoice as error:
        raise ApplicationError(str(error), type="AbsurdInvoice", non_retryable=True) from error
    except (UnknownCurrency, ValidationError) as error:
        raise ApplicationError(str(error), type="UnreadablePlan", non_retryable=True) from error
