"""One line of advice for an option that `fit` does not know, instead of the parser's many."""

import difflib
import re
from collections.abc import Callable, Sequence

UNKNOWN = (
    re.compile(r"[Uu]nrecognized arguments: --([\w.]+)"),
    re.compile(r'Parser key "([\w.]+)": .*?Option \'(\w+)\' is not accepted'),
)
CLASS_ARGUMENTS = ".init_args."  # which may be left out of a name


def unknown_option(said: str) -> str | None:
    """Read the name of the unknown option out of what the parser says; None where it says something else."""
    found = next(filter(None, (words.search(said) for words in UNKNOWN)), None)
    return ".".join(found.groups()) if found else None


def advise(option: str, arguments: Sequence[str], known: Callable[[list[str]], list[str]]) -> str:
    """Say which option may have been meant.

    Args:
        option: The one that is unknown.
        arguments: Of `fit`, names and values in turn, with the unknown option.
        known: Names every option of `fit` under some arguments.
    """
    names, values = arguments[::2], arguments[1::2]
    rest = [(name, value) for name, value in zip(names, values, strict=True) if _plain(name) != f"--{_plain(option)}"]
    if len(rest) == len(names):  # it stands in a preset or file
        return "mend the file that has it"
    close = difflib.get_close_matches(_plain(option), map(_plain, known([part for pair in rest for part in pair])), n=1)
    return f"did you mean {close[0]}?" if close else "leave it out, or see python -m tbft fit --help"


def _plain(name: str) -> str:
    return name.replace(CLASS_ARGUMENTS, ".")
