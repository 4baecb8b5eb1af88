"""Jobs that executors run, the outcomes that they return, and what all executors need."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from tbft.schema import FAILED, INTERRUPTED, TERMINATED
from tbft.study.running.grid import Cell

STOPPED = (INTERRUPTED, TERMINATED)
"""Exit codes of a cell that was interrupted or terminated; the study then ends too."""

Runner = Callable[[list[str]], int]


@dataclass(frozen=True)
class Job:
    """A cell about to run.

    Attributes:
        cell: The cell.
        arguments: The whole command line, beginning with `fit`.
        root: Folder in which the run makes its own folder.
        log: File that receives what the cell prints.
    """

    cell: Cell
    arguments: tuple[str, ...]
    root: Path
    log: Path


@dataclass(frozen=True)
class ProcessUse:
    """What a cell's own process used from its start to its end.

    Attributes:
        cpu_seconds: Processor time of the process and of its ended children.
        wall_seconds: Wall-clock seconds from its start to its end.
    """

    cpu_seconds: float
    wall_seconds: float


@dataclass(frozen=True)
class Outcome:
    """The outcome of a cell.

    Attributes:
        job: The job of the cell.
        code: Exit code of the command line; the negative number of a signal that killed its process.
        reason: Why the cell failed, in one line; empty if it did not fail.
        use: What the cell's process used; None for a cell without a process of its own.
    """

    job: Job
    code: int
    reason: str = ""
    use: ProcessUse | None = None


class Executor(Protocol):
    """Runs jobs and yields each outcome as soon as it is known."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Run all jobs; a failed one does not stop the others."""
        ...


def load_runner(name: str) -> Runner:
    """Import the function that runs a cell.

    Args:
        name: `module:function`; the function takes a command line and returns its exit code.
    """
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def call(runner: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Run one command line in this process; an exception becomes a failure with a reason.

    Returns:
        Exit code, and the exception in one line, or an empty text.
    """
    try:
        return load_runner(runner)(list(arguments)), ""
    except Exception as error:
        return FAILED, " ".join(f"{type(error).__name__}: {error}".split())


def reason_in(log: str, code: int) -> str:
    """Return why a run failed: the message in its log, or else its signal or exit code.

    Args:
        log: Text that the run printed.
        code: Exit code of the run, or the negative number of a signal.
    """
    if code < 0:
        return f"its process was killed by signal {-code}"
    said = [line.removeprefix("tbft: ") for line in log.splitlines() if line.startswith("tbft: ")]
    return next((line for line in said if not line.startswith("TBFT_TRACEBACK")), f"it ended with exit code {code}")


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Send all output of this process to a file for a `with` block, also that of code that writes to descriptors."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    # Never closed: a logger made in the meantime may keep these streams, and then writes to descriptors 1 and 2.
    streams = [open(descriptor, "w", buffering=1, closefd=False) for descriptor in (1, 2)]  # noqa: SIM115
    try:
        with log.open("w") as file, redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
    finally:
        for stream, descriptor, copy in zip(streams, (1, 2), kept, strict=True):
            stream.flush()
            os.dup2(copy, descriptor)
            os.close(copy)
