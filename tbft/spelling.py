"""Which of the known words was meant by a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one; an option may lack its section. None where none is like it."""
    names = list(known)
    by_end = {name.rpartition(".")[2]: name for name in reversed(names)}
    for candidates in ({name: name for name in names}, by_end):
        if close := difflib.get_close_matches(word, candidates, n=1):
            return candidates[close[0]]
    return None


def or_choose(word: str, known: Sequence[str]) -> str:
    """Advice on an unknown word: the one that was meant, or all there are."""
    meant = closest(word, known)
    return f"did you mean {meant}?" if meant else f"choose {', '.join(known)}"
