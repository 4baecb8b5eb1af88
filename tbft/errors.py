"""Errors that tbft raises on purpose, and checks of numeric options that raise them."""


class TbftError(Exception):
    """Base class of every error that tbft raises on purpose."""


class BadInput(TbftError, ValueError):  # noqa: N818 - named in the user's words, since it is no internal error
    """Input that cannot be used; its message says what is wrong, where, and what to do.

    The command line prints the message on standard error and ends with exit code 2.
    """


def check_at_least(least: float, section: str, **options: float | None) -> None:
    """Check that options are at least a given number.

    Args:
        least: smallest allowed value.
        section: the options' section, named in the message.
        options: value by option name; ``None`` (not given) is accepted, NaN is not.

    Raises:
        BadInput: if an option is smaller; the message names it.
    """
    for name, number in options.items():
        if number is not None and not number >= least:  # written so that NaN is refused
            raise BadInput(f"{section}.{name} is {number}: it must be at least {least}")


def check_between(least: float, most: float, section: str, **options: float | None) -> None:
    """Check that options are in a range, both ends included.

    Args:
        least: smallest allowed value.
        most: largest allowed value.
        section: the options' section, named in the message.
        options: value by option name; ``None`` (not given) is accepted, NaN is not.

    Raises:
        BadInput: if an option is outside; the message names it.
    """
    for name, number in options.items():
        if number is not None and not least <= number <= most:  # written so that NaN is refused
            raise BadInput(f"{section}.{name} is {number}: it must be from {least:g} to {most:g}")


def check_positive(section: str, **options: float | None) -> None:
    """Check that options are finite and above 0.

    Args:
        section: the options' section, named in the message.
        options: value by option name; ``None`` (not given) is accepted, NaN is not.

    Raises:
        BadInput: if an option is neither; the message names it.
    """
    for name, number in options.items():
        if number is not None and not 0 < number < float("inf"):
            raise BadInput(f"{section}.{name} is {number}: it must be a finite number above 0")
