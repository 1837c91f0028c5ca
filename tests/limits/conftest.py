"""The application in this process, with a shop whose customer has a subscription."""

from tests.api.conftest import extra_router, service
from tests.usage.conftest import shop

__all__ = ["extra_router", "service", "shop"]
