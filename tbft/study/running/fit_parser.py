"""What the parser of `fit` says of a cell's arguments before anything runs."""

from collections.abc import Callable
from functools import cache
from typing import Any

from tbft.errors import BadInput

Check = Callable[[list[str]], None]
"""Raises BadInput on arguments that `fit` does not accept."""


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
    """Every option that `fit` has under some arguments, those of the classes that these choose too.

    None where more is wrong with them.
    """
    from jsonargparse import ArgumentError

    try:
        return list(_parser().parse_args(["fit", *arguments])["fit"].keys())
    except ArgumentError:
        return []


@cache
def _parser() -> Any:
    """The parser, which takes longer to make than to use."""
    from tbft.command_line.configured_cli import ArgumentsOnly

    return ArgumentsOnly(["fit", "--data", "Digits"]).parser
