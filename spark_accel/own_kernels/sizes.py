"""Sizes as a configuration writes them: numbers and names, sums, differences and products, `round_up`, `divide_up`.

A text is parsed into a tree of which only these parts are taken; nothing of it is ever executed.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_LONGEST = 200  # characters: bounds the depth of the tree, too
_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_FUNCTIONS: Mapping[str, Callable[[int, int], int]] = {
    "round_up": lambda size, step: -(-size // step) * step,
    "divide_up": lambda size, step: -(-size // step),
}
_REMEDY = "take numbers, names of sizes, + - *, round_up(size, step) and divide_up(size, step)"


class SizeError(ValueError):
    """A text is no size, or has no value."""


@dataclass(frozen=True)
class Size:
    """A size: `text` as it was written, `names` that it needs values of."""

    text: str
    names: frozenset[str]

    @property
    def name(self) -> str:
        """The name that it is, empty if it is more than a name."""
        return self.text if self.text in self.names else ""

    def value(self, known: Mapping[str, int]) -> int:
        """The value, 0 or more, for these values of the names; raises SizeError."""
        found = _value(_tree(self.text), known)
        if found < 0:
            raise SizeError(f"'{self.text}' is {found}")
        return found


def parse(text: str) -> Size:
    """Reads a size; raises SizeError, saying what is taken."""
    text = text.strip()
    tree = _tree(text)
    names: set[str] = set()
    _check(tree, text, names)
    return Size(text, frozenset(names))


def _tree(text: str) -> ast.expr:
    if not text or len(text) > _LONGEST:
        raise SizeError(f"a size of {len(text)} characters; expected 1 to {_LONGEST}")
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        raise SizeError(f"'{text}' is no size: {_REMEDY}") from None


def _check(tree: ast.expr, text: str, names: set[str]) -> None:
    match tree:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return
        case ast.Name(id=name):
            names.add(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            _check(left, text, names)
            _check(right, text, names)
        case ast.Call(func=ast.Name(id=name), args=[size, step], keywords=[]) if name in _FUNCTIONS:
            _check(size, text, names)
            _check(step, text, names)
        case _:
            raise SizeError(f"'{text}' is no size: {_REMEDY}")


def _value(tree: ast.expr, known: Mapping[str, int]) -> int:
    match tree:
        case ast.Name(id=name):
            return known[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, known), _value(right, known))
        case ast.Call(func=ast.Name(id=name), args=[size, step]):
            by = _value(step, known)
            if by < 1:
                raise SizeError(f"'{name}' by {by}: expected 1 or more")
            return _FUNCTIONS[name](_value(size, known), by)
        case ast.Constant(value=int() as value):
            return value
    raise AssertionError  # `parse` has refused it
