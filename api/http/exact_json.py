"""JSON bodies read exactly: no number passes through a float, and what Postgres cannot store is refused here."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from models.problems import FieldError, Problem

LONGEST_NUMBER: Final = 64
"""Longest accepted number, in characters of its text and in powers of ten of its size."""

DEEPEST_NESTING: Final = 32
"""Most arrays and objects inside each other."""

_BRACKETS: Final = b"[]{}"
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_LONG_DIGITS: Final = re.compile(rb"[0-9]{%d}" % (LONGEST_NUMBER + 1))
_NO_NUMBER: Final = re.compile(rb"(?:NaN|-?Infinity)\b")
_WHITE_SPACE: Final = b" \t\r\n"
#: White space, quotation marks and colons that a string writes as an escape.
_ESCAPED: Final = re.compile(rb"\\u00(?:0|2|3)")
_POSITION: Final = re.compile(r"\(byte (\d+)\)")


class _TooLong(ValueError):
    """A number that is longer than any of billing."""


def _exact(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise _TooLong from None
    if len(text) > LONGEST_NUMBER or not value.is_finite() or (value and abs(value.adjusted()) > LONGEST_NUMBER):
        raise _TooLong
    return value


_DECODER: Final = msgspec.json.Decoder(float_hook=_exact)
_ENCODER: Final = msgspec.json.Encoder(enc_hook=str)


def read_json(body: bytes) -> Any:
    """Read a JSON text: whole numbers become int, all others Decimal from their own digits, never float (R1, C11).

    Raises ``Problem`` 400 ``malformed_json`` for what is no JSON, ``duplicate_json_key`` for an object that names a key
    twice, 422 for NaN and Infinity, numbers of more than 64
    digits, NUL characters and more than 32 levels of nesting.
    """
    try:
        value = _DECODER.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise _unreadable(body, error) from None
    if rb"\u0000" in body or _LONG_DIGITS.search(body) or _maybe_deep(body):
        _check(value)
    if not says_keys_once(body, _ENCODER.encode(value)):
        _refuse_duplicates(body)
    return value


def says_keys_once(body: bytes, read: bytes) -> bool:
    """Tell cheaply whether a body names every key once; ``read`` is the JSON of what a decoder kept of it.

    False may be a false alarm: a null that the decoder dropped, an escape, or a very large number.
    """
    return not (b"\\u00" in body and _ESCAPED.search(body)) and _colons(body) == _colons(read)


def _colons(text: bytes) -> int:
    """Return how many quotation marks stand before a colon: one for each key, and those inside strings."""
    return text.translate(None, _WHITE_SPACE).count(b'":')


def _refuse_duplicates(body: bytes) -> None:
    """Raise ``Problem`` 400 if an object names a key twice."""
    json.loads(body, object_pairs_hook=_once, parse_int=str, parse_float=str)


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            message = f"The key {name[:100]!r} stands twice in one object; send it once."
            errors = (FieldError(name[:100], message, "duplicate_json_key"),)
            raise Problem(400, "duplicate_json_key", message, errors=errors)
        seen.add(name)


def _maybe_deep(body: bytes) -> bool:
    """Tell cheaply whether the nesting may be too deep; brackets inside strings may raise a false alarm."""
    brackets = body.translate(None, _NOT_BRACKETS)
    for _ in range(DEEPEST_NESTING):
        if not brackets:
            return False
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return bool(brackets)


def _check(value: Any) -> None:
    """Walk a suspicious document level by level, so that its depth cannot exhaust the stack."""
    level = [value]
    for _ in range(DEEPEST_NESTING + 1):
        if not level:
            return
        level = [child for item in level for child in _children(item)]
    raise _too_deep()


def _children(item: Any) -> Iterator[Any]:
    if isinstance(item, str) and "\x00" in item:
        raise _refused("nul_character", "Text must not contain the NUL character (U+0000).")
    if isinstance(item, int) and not isinstance(item, bool) and abs(item) >= 10**LONGEST_NUMBER:
        raise _number_too_long()
    if isinstance(item, list):
        yield from item
    elif isinstance(item, dict):
        yield from item.keys()
        yield from item.values()


def _unreadable(body: bytes, error: Exception) -> Problem:
    if isinstance(error, _TooLong) or isinstance(error.__cause__, _TooLong) or "out of range" in str(error):
        return _number_too_long()
    found = _POSITION.search(str(error))
    # A minus sign may stand between the reported byte and the word.
    if found and _NO_NUMBER.match(body, max(0, int(found[1]) - (body[int(found[1]) - 1 : int(found[1])] == b"-"))):
        return _refused("not_a_number", "NaN and Infinity are not numbers in JSON; send a plain decimal number.")
    return Problem(
        400,
        "malformed_json",
        f"The body is not valid JSON: {error}.",
        errors=(FieldError("body", str(error), "malformed_json"),),
    )


def _refused(code: str, message: str) -> Problem:
    return Problem(422, code, message, errors=(FieldError("body", message, code),))


def _number_too_long() -> Problem:
    return _refused("number_too_long", f"A number has at most {LONGEST_NUMBER} digits.")


def _too_deep() -> Problem:
    return _refused("too_deeply_nested", f"A body has at most {DEEPEST_NESTING} levels of arrays and objects.")
