"""What Postgres refuses: the caller's mistake, or a lost connection."""

import psycopg
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from models.problems import Problem


def is_unstorable(error: BaseException) -> bool:
    """Tell a value that no column can hold (too large, a NUL character, text that is no UTF-8) from other errors."""
    if isinstance(error, DataError | psycopg.DataError):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.errors.ProgramLimitExceeded):  # too long for an index
        return True
    return isinstance(error, UnicodeEncodeError)


def is_of_the_data(error: BaseException) -> bool:
    """Tell an error that the same data gives every time from one of the database, or of the connection to it."""
    return is_unstorable(error) or not isinstance(error, SQLAlchemyError | psycopg.Error | OSError | Problem)


def is_unreachable(error: BaseException) -> bool:
    """Tell a database that does not answer, or no longer, from other errors of a bare connection."""
    return isinstance(error, psycopg.OperationalError)


def violated_constraint(error: IntegrityError) -> str | None:
    """Name the constraint or unique index that an insert or update broke."""
    original = error.orig
    return original.diag.constraint_name if isinstance(original, psycopg.Error) else None
