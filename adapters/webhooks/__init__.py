"""Webhooks that go out: which addresses are allowed, how messages are signed, sent and tried again."""
