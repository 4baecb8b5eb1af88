"""Standard output and standard error whose errors do not end a run."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class UnfailingStream:
    """A text stream that discards all output after its first failed write, and so does the file under it.

    Attributes:
        failure: error of the failed write; ``None`` if none has failed.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, or discard it; never raise ``OSError``."""
        if self.failure is None:
            try:
                return self._stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several lines, or discard them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream, or discard its buffer; never raise ``OSError``."""
        if self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.failure = error
        # The stream still holds the unwritten text, which Python flushes again at the end of the process.
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as void:  # noqa: PTH123
            os.dup2(void.fileno(), self._stream.fileno())


@contextmanager
def unfailing_output() -> Iterator[UnfailingStream]:
    """Let printing never fail within this context: not for closed or full files, broken pipes or missing characters.

    Yields:
        Standard output, whose ``failure`` is the error that it met.
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
    """Return whether an error says that the reader of a pipe or a socket is gone."""
    return error.errno in (errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN)


def _open_closed_files() -> None:
    """Replace closed standard files by the null device; otherwise the next opened file would get their output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def _degrading(stream: TextIO) -> TextIO:
    """Return a stream that prints a question mark for each character that its encoding lacks."""
    with contextlib.suppress(AttributeError, ValueError):
        if stream.errors == "strict":
            stream.reconfigure(errors="replace")  # type: ignore[attr-defined]
    return stream
