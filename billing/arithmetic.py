"""Arithmetic that a customer writes over event properties, checked against a short list of what is allowed.

Nothing is ever executed: the text is parsed, every node of the tree must be one of + - * /, a sign, a plain number or
a name, and the tree is computed here with exact ratios.
"""

import ast
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final

from billing.numbers import NotANumber, parse_decimal

LONGEST_EXPRESSION: Final = 500
MOST_NODES: Final = 128

_Names = Mapping[str, Decimal | None]


class BadExpression(ValueError):
    """Raised for a text that is not plain arithmetic over property names."""


def check(expression: str) -> str:
    """Pass a valid expression through; raises `BadExpression` for everything but + - * / ( ) numbers and names.

    Names are ASCII identifiers. At most 500 characters and 128 nodes, so that computing one is always cheap.
    """
    _parse(expression)
    return expression


def names_in(expression: str) -> frozenset[str]:
    """Return the property names that an expression reads. Raises `BadExpression`."""
    return frozenset(node.id for node in ast.walk(_parse(expression)) if isinstance(node, ast.Name))


def compute(expression: str, names: _Names) -> Fraction | None:
    """Compute an expression exactly: "tokens_in + 3 * tokens_out" with 10 and 4 -> 22.

    None when a name has no number or a divisor is 0: the expression then has no value for this event.
    Raises `BadExpression`.
    """
    return _compute(_parse(expression), names, expression)


@lru_cache(maxsize=1024)
def _parse(expression: str) -> ast.expr:
    if len(expression) > LONGEST_EXPRESSION:
        raise BadExpression(f"an expression has at most {LONGEST_EXPRESSION} characters")
    # Python would fold other alphabets into ASCII names and count bytes, not characters, as columns.
    if not expression.isascii():
        raise BadExpression("an expression is written in ASCII")
    try:
        body = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadExpression(f"{expression!r} is not arithmetic such as tokens_in + 3 * tokens_out") from error
    nodes = list(ast.walk(body))
    if len(nodes) > MOST_NODES:
        raise BadExpression("the expression is too long")
    for node in nodes:
        _check_node(node, expression.strip())
    return body


def _check_node(node: ast.AST, source: str) -> None:
    match node:
        case ast.BinOp() | ast.UnaryOp() | ast.Name() | ast.Load():
            pass
        case ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.UAdd() | ast.USub():
            pass
        case ast.Constant():
            _constant(node, source)
        case _:
            raise BadExpression(f"only + - * / ( ), numbers and property names are allowed, not {type(node).__name__}")


def _constant(node: ast.Constant, source: str) -> Decimal:
    """Read a number from its text, because the parsed constant 0.1 is a float."""
    text = ast.get_source_segment(source, node) or ""
    try:
        return parse_decimal(text)
    except NotANumber as error:
        raise BadExpression(f"{text or node.value!r} is not a plain number") from error


def _compute(node: ast.expr, names: _Names, source: str) -> Fraction | None:
    match node:
        case ast.Name(id=name):
            value = names.get(name)
            return None if value is None else Fraction(value)
        case ast.Constant():
            return Fraction(_constant(node, source.strip()))
        case ast.UnaryOp(op=op, operand=operand):
            inner = _compute(operand, names, source)
            return -inner if inner is not None and isinstance(op, ast.USub) else inner
        case ast.BinOp(left=left, op=op, right=right):
            return _apply(op, _compute(left, names, source), _compute(right, names, source))
    raise BadExpression(f"{type(node).__name__} is not arithmetic")


def _apply(op: ast.operator, left: Fraction | None, right: Fraction | None) -> Fraction | None:
    if left is None or right is None:
        return None
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case _:
            return left / right if right else None
