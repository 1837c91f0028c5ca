"""Secrets at rest: encrypted with AES-256-GCM under a key of the deployment, each bound to what it belongs to.

A sealed secret is `v1.<id of the key>.<nonce and ciphertext>`. The first of the configured keys seals; all of them
open, so that a key is replaced by putting a new one in front of it.
"""

import base64
import hashlib
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from models.problems import Problem

_FORMAT = "v1"
_NONCE_BYTES = 12
_SHORTEST_KEY = 32


class SecretBox:
    """Seals and opens texts; without keys it refuses both."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        if any(len(key) < _SHORTEST_KEY for key in keys):
            raise ValueError(f"an encryption key has at least {_SHORTEST_KEY} characters, all of them random")
        self._keys = {_id_of(key): AESGCM(hashlib.sha256(key.encode()).digest()) for key in keys}

    def seal(self, secret: str, *, about: str) -> str:
        """Return the secret encrypted; it opens only with the same `about`. Raises `Problem` 503 without a key."""
        if not self._keys:
            raise Problem(
                503,
                "encryption_key_missing",
                "This server keeps no secrets until DURABILL_ENCRYPTION_KEYS is set (docs/operations.md).",
            )
        identity, key = next(iter(self._keys.items()))
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + key.encrypt(nonce, secret.encode(), about.encode())
        return ".".join((_FORMAT, identity, base64.urlsafe_b64encode(sealed).decode()))

    def open(self, sealed: str, *, about: str) -> str:
        """Return the secret. Raises `Problem` 503 `secret_unreadable` if no configured key opens it."""
        version, identity, text = sealed.split(".")
        key = self._keys.get(identity)
        raw = base64.urlsafe_b64decode(text)
        try:
            if version == _FORMAT and key is not None:
                return key.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], about.encode()).decode()
        except InvalidTag:
            pass
        raise Problem(
            503,
            "secret_unreadable",
            "A secret was encrypted with a key that DURABILL_ENCRYPTION_KEYS does not hold: add that key, or save the "
            "secret again.",
        )


def _id_of(key: str) -> str:
    return hashlib.sha256(b"durabill key id " + key.encode()).hexdigest()[:8]
