"""Notes: what a reader of the figures must know, collected while the meter runs."""

from __future__ import annotations

from collections.abc import Callable


class Notes:
    """Sentences for the record, without repetitions.

    Attributes:
        sentences: The sentences in the order in which they were added.
    """

    def __init__(self) -> None:
        """Start without a sentence."""
        self.sentences: list[str] = []

    def add(self, sentence: str) -> None:
        """Add a sentence, unless it is there already."""
        if sentence not in self.sentences:
            self.sentences.append(sentence)

    def guard(self, action: Callable[[], object], otherwise: str) -> None:
        """Call an action whose failure must not end the run: an exception becomes a note.

        Args:
            action: The function to call.
            otherwise: Beginning of the note; the exception follows in brackets.
        """
        try:
            action()
        except Exception as error:
            self.add(f"{otherwise} ({type(error).__name__}: {error})")
