"""What a user can get wrong, told in one line."""


class BadInput(ValueError):  # noqa: N818 - the user's word for it, not an internal error
    """Input that cannot be used; its message says what is wrong, where, and what to do.

    The command line prints the message on standard error and ends with exit code 2.
    """
