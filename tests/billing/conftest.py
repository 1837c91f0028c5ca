"""Hypothesis settings for the pure core: small domains, many short tests, no wall-clock deadline."""

from hypothesis import HealthCheck, settings

settings.register_profile("billing", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("billing")
