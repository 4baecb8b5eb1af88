"""What a reader of the figures must be told, noted while the meter runs."""

from __future__ import annotations

from collections.abc import Callable


class Notes:
    """Sentences for the record, each once.

    Attributes:
        sentences: In the order in which they were noted.
    """

    def __init__(self) -> None:
        """Begins without a note."""
        self.sentences: list[str] = []

    def add(self, sentence: str) -> None:
        """Notes a sentence, unless it is noted already."""
        if sentence not in self.sentences:
            self.sentences.append(sentence)

    def guard(self, action: Callable[[], object], otherwise: str) -> None:
        """Calls an action whose failure must not end the run: it is noted instead of raised.

        Args:
            action: What to call.
            otherwise: The beginning of the note.
        """
        try:
            action()
        except Exception as error:
            self.add(f"{otherwise} ({type(error).__name__}: {error})")
