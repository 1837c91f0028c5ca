"""x."""

from api.routing import resource_router

router = resource_router("api_keys")
