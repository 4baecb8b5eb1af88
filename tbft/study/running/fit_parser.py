"""Checks a cell's arguments with the parser of `fit` before anything runs."""

from collections.abc import Callable
from functools import cache
from typing import Any

from tbft.errors import BadInput

Check = Callable[[list[str]], None]
"""Function that raises BadInput on arguments that `fit` does not accept."""


def check_arguments(arguments: list[str]) -> None:
    """Parse the arguments of `fit` without running anything.

    Raises:
        BadInput: When `fit` does not accept them.
    """
    from jsonargparse import ArgumentError

    from tbft.command_line.argument_order import in_order
    from tbft.command_line.suggestions import check_effects

    try:
        _parser().parse_args(["fit", *in_order(arguments)])
    except ArgumentError as error:
        raise BadInput(" ".join(str(error).split())) from None
    check_effects(arguments)


def options_of_fit(arguments: list[str]) -> list[str]:
    """Return all options that `fit` has with some arguments, including those of the classes that they choose.

    The list is empty if `fit` does not accept the arguments.
    """
    from jsonargparse import ArgumentError

    try:
        return list(_parser().parse_args(["fit", *arguments])["fit"].keys())
    except ArgumentError:
        return []


@cache
def _parser() -> Any:
    """Return the parser of `fit`; it is made once, because making it takes longer than using it."""
    from tbft.command_line.configured_cli import ArgumentsOnly

    return ArgumentsOnly(["fit", "--data", "Digits"]).parser
