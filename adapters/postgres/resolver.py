"""One resolver for every id in a path, a query or a body (conflicts C4).

A reference is tried, in this order, as the shown id or uuid of a row, as the client's own code (a metric's key, a
customer's external id, a subscription's external id), as a further name of the client (a customer's corporate id or
domain, a subscription's external reference), and as an ingest key: `meter.<key>`, `item.<code>`, `sub.<name>`, in which
`-` and `_` are alike. Ids are opaque: a prefix is never required. Deleted rows are not found.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Table, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.resources import BillingEntity, Customer, Feature, Metric, Plan, Product
from adapters.postgres.rows import read_as
from models.identifiers import PREFIXES, parse_id
from models.problems import not_found
from models.tables import billing_entities, customers, features, metrics, plans, products, subscriptions

Found: TypeAlias = Row[Any]
"""A row as a store gives it."""


_Record = TypeVar("_Record")


@dataclass(frozen=True)
class Kind(Generic[_Record]):
    """How the rows of one table are named: by indexed columns first, then by others, then by ingest keys.

    Without a `record`, the row itself is what is found.
    """

    name: str
    table: Table
    codes: tuple[str, ...]
    record: type[_Record] | None = None
    other_names: tuple[str, ...] = ()
    ingest_prefix: str | None = None


METRIC: Final = Kind("metric", metrics, ("key",), Metric, ingest_prefix="meter.")
PRODUCT: Final = Kind("product", products, ("code",), Product, ingest_prefix="item.")
PLAN: Final = Kind("plan", plans, ("code",), Plan)
FEATURE: Final = Kind("feature", features, ("code",), Feature)
BILLING_ENTITY: Final = Kind("billing_entity", billing_entities, ("code",), BillingEntity)
CUSTOMER: Final = Kind("customer", customers, ("code",), Customer, other_names=("corporate_id", "domain"))
# An external reference need not be unique: the oldest subscription that has not ended is taken, else the oldest.
SUBSCRIPTION: Final[Kind[Row[Any]]] = Kind(
    "subscription", subscriptions, ("external_id",), other_names=("external_reference",), ingest_prefix="sub."
)

KINDS: Final[tuple[Kind[Any], ...]] = (METRIC, PRODUCT, PLAN, FEATURE, BILLING_ENTITY, CUSTOMER, SUBSCRIPTION)

_ENDED: Final = ("canceled", "terminated")


async def resolve_metrics(connection: AsyncConnection, project_id: UUID, refs: Iterable[str]) -> dict[str, Metric]:
    """Find many metrics with at most two queries; references that name nothing are absent from the answer."""
    return await resolve_many(connection, project_id, METRIC, set(refs))


async def required(connection: AsyncConnection, project_id: UUID, kind: Kind[_Record], ref: str) -> _Record:
    """Find the record or raise `Problem` 404 `<kind>_not_found`."""
    row = (await resolve_many(connection, project_id, kind, (ref,))).get(ref)
    if row is None:
        raise not_found(kind.name, ref)
    return row


async def resolve_many(
    connection: AsyncConnection, project_id: UUID, kind: Kind[_Record], refs: Collection[str]
) -> dict[str, _Record]:
    """Find the records that references name, in the order of the module's text; unknown references are absent.

    Indexed columns are asked first, so that the common forms cost one indexed query for a whole batch.
    """
    wanted = {ref for ref in refs if _storable(ref)}
    if not wanted:
        return {}
    found = _matched(kind, wanted, await _rows(connection, project_id, kind, _indexed(kind, wanted)))
    missing = wanted - found.keys()
    slow = _unindexed(kind, missing)
    if slow is not None:
        found |= _matched(kind, missing, await _rows(connection, project_id, kind, slow))
    return {ref: read_as(kind.record, row) for ref, row in found.items()}


def _storable(ref: str) -> bool:
    """Return whether Postgres can hold the text at all; what it cannot hold names nothing."""
    return 0 < len(ref) <= 1000 and "\x00" not in ref and not any("\ud800" <= letter <= "\udfff" for letter in ref)


def _alike(text: str) -> str:
    return text.replace("_", "-")


def _tail(kind: Kind[Any], ref: str) -> str | None:
    """Return what follows the ingest prefix, or None if the reference is no ingest key of this kind."""
    prefix = kind.ingest_prefix
    return ref.removeprefix(prefix) if prefix is not None and ref.startswith(prefix) and ref != prefix else None


def _uuid_of(kind: Kind[Any], ref: str) -> UUID | None:
    """Read a shown id or uuid, also behind an ingest prefix (`sub.<uuid>`, `sub.<26 characters>`)."""
    own = parse_id(ref)
    tail = _tail(kind, ref)
    if own is not None or tail is None:
        return own
    return parse_id(tail) or parse_id(f"{PREFIXES[kind.name]}_{tail}")


def _indexed(kind: Kind[Any], refs: Collection[str]) -> ColumnElement[bool]:
    columns = kind.table.c
    ids = {found for ref in refs if (found := _uuid_of(kind, ref)) is not None}
    clauses = [columns[code].in_(refs) for code in kind.codes]
    return or_(columns.id.in_(ids), *clauses) if ids else or_(*clauses)


def _unindexed(kind: Kind[Any], refs: Collection[str]) -> ColumnElement[bool] | None:
    columns = kind.table.c
    tails = {_alike(tail) for ref in refs if (tail := _tail(kind, ref)) is not None}
    clauses = [columns[name].in_(refs) for name in kind.other_names] if refs else []
    if tails:
        clauses += [func.replace(columns[name], "_", "-").in_(tails) for name in kind.codes + kind.other_names]
    return or_(*clauses) if clauses else None


async def _rows(
    connection: AsyncConnection, project_id: UUID, kind: Kind[Any], condition: ColumnElement[bool]
) -> list[Row[Any]]:
    """Read the candidates, oldest first."""
    columns = kind.table.c
    living = columns.deleted_at.is_(None) if "deleted_at" in columns else columns.id.is_not(None)
    statement = select(kind.table).where(and_(columns.project_id == project_id, living, condition))
    return list((await connection.execute(statement.order_by(columns.id))).all())


def _matched(kind: Kind[Any], refs: Collection[str], rows: list[Row[Any]]) -> dict[str, Row[Any]]:
    """Pair each reference with the first row that carries it in the best form."""
    ordered = sorted(rows, key=lambda row: row._mapping.get("status") in _ENDED)
    found: dict[str, Row[Any]] = {}
    for ref in refs:
        ranked = [(rank, row) for row in ordered if (rank := _rank(kind, ref, row)) is not None]
        if ranked:
            found[ref] = min(ranked, key=lambda pair: pair[0])[1]
    return found


def _rank(kind: Kind[Any], ref: str, row: Row[Any]) -> int | None:
    """Return how well a row matches a reference (0 is best); None if it does not."""
    values = row._mapping
    if parse_id(ref) == values["id"]:
        return 0
    names = kind.codes + kind.other_names
    for rank, name in enumerate(names, start=1):
        if values[name] == ref:
            return rank
    tail = _tail(kind, ref)
    if tail is None:
        return None
    if _uuid_of(kind, ref) == values["id"]:
        return len(names) + 1
    return len(names) + 2 if _alike(tail) in {_alike(values[name]) for name in names if values[name]} else None
