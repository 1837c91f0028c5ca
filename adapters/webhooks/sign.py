"""Signing webhooks as the Standard Webhooks specification says, so that its published libraries verify them (B166).

HMAC-SHA256 over ``{webhook-id}.{webhook-timestamp}.{body}``; the timestamp is the attempt's, the id the message's.
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from standardwebhooks import Webhook

_SECRET_BYTES: Final = 32
# Amounts are exact numbers (C11).
_JSON: Final = msgspec.json.Encoder(decimal_format="number")
#: The order in which a reader expects them; JSONB does not keep one.
_KEYS: Final = ("id", "type", "created_at", "sequence", "data")


def new_secret() -> str:
    """Make a signing secret: ``whsec_`` and 256 random bits in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def body_of(payload: Mapping[str, Any]) -> bytes:
    """Write a message as it is sent; the same bytes for every attempt."""
    return _JSON.encode({key: payload[key] for key in _KEYS})


def signed_headers(message_id: str, body: bytes, signing: Sequence[str], *, at: datetime) -> dict[str, str]:
    """Return the headers of one attempt: one signature for each secret, separated by spaces; ``at`` is in UTC."""
    text = body.decode()
    signatures = [Webhook(secret).sign(message_id, at, text) for secret in signing]
    return {
        "content-type": "application/json",
        "user-agent": "Durabill-Webhooks/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
