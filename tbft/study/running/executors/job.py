"""What executors run, and what they hand back."""

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
"""Exit codes of a cell that somebody ended: the study ends too."""

Runner = Callable[[list[str]], int]


@dataclass(frozen=True)
class Job:
    """A cell about to run.

    Attributes:
        cell: The cell.
        arguments: The whole command line, `fit` first.
        root: Folder in which the run makes its own.
        log: Where what it prints goes.
    """

    cell: Cell
    arguments: tuple[str, ...]
    root: Path
    log: Path


@dataclass(frozen=True)
class ProcessUse:
    """What a cell's own process used from its start to its end.

    Attributes:
        cpu_seconds: Of the process and of its children that have ended.
        wall_seconds: From start to end.
    """

    cpu_seconds: float
    wall_seconds: float


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        job: The job.
        code: Exit code of the command line; negative for the signal that killed its process.
        reason: Why it failed, in one line; empty when it did not.
        use: What its process used; None for a cell without a process of its own.
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
    """Import what runs a cell.

    Args:
        name: `module:function`; the function takes a command line and returns its exit code.
    """
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def call(runner: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Run one command line in this process; an exception becomes a failure with a reason.

    Returns:
        Exit code, and the exception in one line if there was one.
    """
    try:
        return load_runner(runner)(list(arguments)), ""
    except Exception as error:
        return FAILED, " ".join(f"{type(error).__name__}: {error}".split())


def reason_in(log: str, code: int) -> str:
    """Why a run failed: the message in its log, or else the meaning of its exit code."""
    if code < 0:
        return f"its process was killed by signal {-code}"
    said = [line.removeprefix("tbft: ") for line in log.splitlines() if line.startswith("tbft: ")]
    return next((line for line in said if not line.startswith("TBFT_TRACEBACK")), f"it ended with exit code {code}")


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Send everything that this process prints to a file, also what writes to the descriptors themselves."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    # never closed: a logger made meanwhile may hold on to them, and then writes to wherever 1 and 2 lead
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
