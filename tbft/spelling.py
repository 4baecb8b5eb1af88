"""Guess which known word a misspelt one stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most similar to a word, or ``None`` if none is similar.

    Known words also match by the part after their last dot, so that an option may be given without its section.
    """
    names = list(known)
    by_end = {name.rpartition(".")[2]: name for name in reversed(names)}
    for candidates in ({name: name for name in names}, by_end):
        if close := difflib.get_close_matches(word, candidates, n=1):
            return candidates[close[0]]
    return None


def or_choose(word: str, known: Sequence[str]) -> str:
    """Return advice on an unknown word: the known word that was probably meant, or all known words."""
    meant = closest(word, known)
    return f"did you mean {meant}?" if meant else f"choose {', '.join(known)}"
