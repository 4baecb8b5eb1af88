"""What a user can get wrong, told in one line."""


class TbftError(Exception):
    """Everything that tbft raises on purpose."""


class BadInput(TbftError, ValueError):  # noqa: N818 - the user's word for it, not an internal error
    """Input that cannot be used; its message says what is wrong, where, and what to do.

    The command line prints the message on standard error and ends with exit code 2.
    """


def check_at_least(least: float, section: str, **options: float | None) -> None:
    """Refuse options of a section that are below the least number that makes sense; ``None`` is not given.

    Raises:
        BadInput: naming the option.
    """
    for name, number in options.items():
        if number is not None and not number >= least:  # what is no number at all (nan) too
            raise BadInput(f"{section}.{name} is {number}: it must be at least {least}")


def check_between(least: float, most: float, section: str, **options: float | None) -> None:
    """Refuse options of a section that are outside the range that makes sense; ``None`` is not given.

    Raises:
        BadInput: naming the option.
    """
    for name, number in options.items():
        if number is not None and not least <= number <= most:  # what is no number at all (nan) too
            raise BadInput(f"{section}.{name} is {number}: it must be from {least:g} to {most:g}")


def check_positive(section: str, **options: float | None) -> None:
    """Refuse options of a section that are not finite or not above 0; ``None`` is not given.

    Raises:
        BadInput: naming the option.
    """
    for name, number in options.items():
        if number is not None and not 0 < number < float("inf"):
            raise BadInput(f"{section}.{name} is {number}: it must be a finite number above 0")
