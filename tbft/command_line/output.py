"""Standard output and standard error that cannot fail: a run goes on whoever reads what it tells, and wherever."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class UnfailingStream:
    """A text stream whose first failed write turns it, and the file below it, into a void.

    Attributes:
        failure: why it could not be written; ``None`` as long as it can.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or drop the text."""
        if self.failure is None:
            try:
                return self._stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each, or drop it."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, or drop what is left."""
        if self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.failure = error
        # The stream still holds what it could not write, and Python flushes it once more at the end of the process.
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as void:  # noqa: PTH123
            os.dup2(void.fileno(), self._stream.fileno())


@contextmanager
def unfailing_output() -> Iterator[UnfailingStream]:
    """Let nothing fail for what is printed: closed or full files, pipes that nobody reads, few characters.

    Yields:
        Standard output, which tells whether it could be written.
    """
    _open_closed_files()
    before = sys.stdout, sys.stderr
    out, err = (UnfailingStream(_degrading(stream)) for stream in before)
    sys.stdout, sys.stderr = out, err  # type: ignore[assignment]
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def is_broken_pipe(error: OSError) -> bool:
    """Whether nobody reads any more; a pipe or a socket says so."""
    return error.errno in (errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN)


def _open_closed_files() -> None:
    """Give a closed standard file a void; the next file that is opened would take its number, and its output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def _degrading(stream: TextIO) -> TextIO:
    """The stream, with a question mark for each character that its encoding lacks."""
    with contextlib.suppress(AttributeError, ValueError):
        if stream.errors == "strict":
            stream.reconfigure(errors="replace")  # type: ignore[attr-defined]
    return stream
