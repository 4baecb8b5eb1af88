"""Running a study: what is still to do, in which order, and what became of it."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from tbft.errors import BadInput
from tbft.study.executors import Executor, Job, Outcome
from tbft.study.executors.job import BAD_INPUT, DONE
from tbft.study.grid import Cell, Study, cells_of
from tbft.study.ledger import Ledger, State
from tbft.suggestions import advise, options_of_fit, unknown_option

FULL = (errno.ENOSPC, errno.EDQUOT)


class Progress(Protocol):
    """Hears of each cell that ended."""

    def ended(self, outcome: Outcome) -> None:
        """A cell ended."""
        ...


@dataclass(frozen=True)
class Summary:
    """How a study ended.

    Attributes:
        completed: Cells with a completed record, from now or earlier.
        ran: Cells that ran now.
        failed: Cells that failed, with the reasons.
        foreign: Cells whose record another version of tbft wrote; they were left alone.
    """

    completed: int
    ran: int
    failed: dict[str, str]
    foreign: tuple[str, ...]


def plan(study: Study, check: Callable[[list[str]], None]) -> list[Cell]:
    """Make the cells and let `fit` check its options before anything runs.

    Raises:
        BadInput: When the grid is wrong or `fit` does not know an option.
    """
    cells = cells_of(study)
    for cell in _covering(cells):
        try:
            check(list(cell.arguments))
        except BadInput as error:
            option = unknown_option(str(error))
            if option is None:
                raise BadInput(f"cell {cell.key}: {error}") from None
            advice = advise(option, cell.arguments, options_of_fit)
            raise BadInput(f"fit does not know {option} (in cell {cell.key}): {advice}") from None
    return cells


def run_study(
    study: Study,
    cells: Sequence[Cell],
    executor: Executor,
    *,
    resume: bool = True,
    retries: int = 0,
    shared: bool = False,
    extra: Callable[[Cell], Sequence[str]] = lambda cell: (),
    progress: Callable[[int, int], AbstractContextManager[Progress | None]] = lambda total, todo: nullcontext(),
) -> Summary:
    """Run every cell that has no completed record yet.

    Args:
        study: The study.
        cells: Its cells, in their order.
        executor: Runs them.
        resume: Go on with a ledger that a study has used before.
        retries: How often to run a failed cell again.
        shared: Whether cells share a machine; marked in their records.
        extra: Further arguments of a cell, which change nothing about its outcome, such as W&B's.
        progress: Makes what hears of ended cells, given how many there are and how many are to run.

    Raises:
        BadInput: When the ledger is in use, cannot be written, or is not to be resumed, or when the disk is full: no
            further cell could record what it did.
        KeyboardInterrupt: When interrupted; what was completed stays so.
    """
    ledger = Ledger(study.root)
    with ledger.locked():
        if not resume and ledger.is_used():
            raise BadInput(f"{study.root} holds a study already: leave out --no_resume, or choose another --root")
        ledger.enter(cells)
        states = {cell.key: ledger.state(cell) for cell in cells}
        todo = [cell for cell in cells if states[cell.key] not in (State.COMPLETED, State.FOREIGN)]
        ledger.share([cell for cell in todo if shared])
        ledger.mark_shared(cells)
        failed: dict[str, str] = {}
        with progress(len(cells), len(todo)) as listener, _full_disk_told(study):
            jobs = [_job(study, cell, ledger, extra(cell)) for cell in todo]
            for attempt in range(retries + 1):
                again = []
                for outcome in executor.run(jobs):
                    reason = _settle(outcome, ledger)
                    failed.pop(outcome.job.cell.key, None)
                    if reason:
                        failed[outcome.job.cell.key] = reason
                    if reason and attempt < retries and outcome.code != BAD_INPUT:
                        again.append(outcome.job)
                    elif listener is not None:
                        listener.ended(outcome)
                jobs = again
    foreign = tuple(key for key, state in states.items() if state is State.FOREIGN)
    completed = len(cells) - len(failed) - len(foreign)
    return Summary(completed, len(todo), failed, foreign)


def _settle(outcome: Outcome, ledger: Ledger) -> str:
    """See that the ledger says how a cell ended; the reason if it failed."""
    cell = outcome.job.cell
    if outcome.code == DONE and ledger.state(cell) is State.COMPLETED:
        ledger.mark_shared([cell])
        return ""
    reason = outcome.reason or "it ended well but left no completed record"
    ledger.fail(cell, reason)
    if any(words in reason for words in map(os.strerror, FULL)):
        raise BadInput(f"no space was left for {cell.key} ({reason}): free some and start the study again")
    return reason


@contextmanager
def _full_disk_told(study: Study) -> Iterator[None]:
    """Turn what the system says of a full disk, such as of a log that cannot be written, into words."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise BadInput(f"no space is left for {study.root} ({error}): free some and start the study again") from None


def _job(study: Study, cell: Cell, ledger: Ledger, extra: Sequence[str]) -> Job:
    where = ("--run.root", str(study.root), "--run.name", cell.key)
    return Job(cell, ("fit", *cell.arguments, *extra, *where), study.root, ledger.log(cell))


def _covering(cells: Iterable[Cell]) -> list[Cell]:
    """A few cells that together stand at every place of every axis but seeds and repeats."""
    seen: set[tuple[str, str]] = set()
    chosen: list[Cell] = []
    for cell in cells:
        places = {(axis, label) for axis, label in cell.labels.items() if axis not in ("seed", "repeat")}
        if not chosen or not places <= seen:
            chosen.append(cell)
            seen |= places
    return chosen
