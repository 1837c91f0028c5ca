"""What the stores hand out and take, for the layers that must not speak SQL themselves."""

from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["AsyncConnection", "Row", "SQLAlchemyError"]
