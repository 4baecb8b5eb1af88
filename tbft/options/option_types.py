"""Check the type of an option's value against the annotation in the source of its class."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

_KINDS: dict[str, tuple[type, ...]] = {
    "int": (Integral,),
    "float": (Real,),
    "bool": (bool,),
    "str": (str,),
    "list": (list, tuple),
    "tuple": (list, tuple),
    "dict": (Mapping,),
}


def can_be(value: Any, annotation: ast.expr | None) -> bool:
    """Return whether a value is of the annotated type.

    Args:
        value: value of the option. Whole numbers count as ``float``, truth values do not count as numbers.
        annotation: annotation made of ``None``, ``int``, ``float``, ``bool``, ``str``, ``Literal``, ``list``,
            ``tuple``, ``dict``, ``|``, ``Optional`` and ``Union``; any value is accepted for another annotation.
    """
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id=name) if name in _KINDS:
            return isinstance(value, _KINDS[name]) and (name == "bool" or not isinstance(value, bool))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return can_be(value, left) or can_be(value, right)
        case ast.Subscript(value=ast.Name(id=name), slice=inside):
            parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            if name == "Literal":
                return any(isinstance(part, ast.Constant) and part.value == value for part in parts)
            if name in ("Optional", "Union"):
                return (name == "Optional" and value is None) or any(can_be(value, part) for part in parts)
            if name in ("list", "tuple"):
                return can_be(value, ast.Name(name)) and all(can_be(item, parts[0]) for item in value)
            if name == "dict":
                return isinstance(value, Mapping) and all(can_be(item, parts[1]) for item in value.values())
    return True
