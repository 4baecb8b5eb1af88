"""Runs the cells of a study that have no completed record yet."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from tbft.command_line.suggestions import advise, unknown_option
from tbft.errors import BadInput
from tbft.runs.folder import FULL_DISK
from tbft.schema import BAD_INPUT, DONE
from tbft.study.running.executors import Executor, Job, Outcome
from tbft.study.running.fit_parser import Check, options_of_fit
from tbft.study.running.grid import REPLICATES, Cell, Study, cells_of
from tbft.study.running.ledger import Ledger, State


class Progress(Protocol):
    """Is told of each cell that ended."""

    def ended(self, outcome: Outcome) -> None:
        """Count a cell that ended."""
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


def plan(study: Study, check: Check) -> list[Cell]:
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
        progress: Makes the listener for ended cells from the number of all cells and of those to run.

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
        with progress(len(cells), len(todo)) as listener, _translate_full_disk(study):
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
    """Write into the ledger how a cell ended; return the reason if it failed."""
    cell = outcome.job.cell
    if outcome.code == DONE and ledger.state(cell) is State.COMPLETED:
        ledger.mark_shared([cell])
        if outcome.use is not None:
            ledger.complete_process(cell, outcome.use)
        return ""
    reason = outcome.reason or "it ended well but left no completed record"
    ledger.fail(cell, reason)
    if any(words in reason for words in map(os.strerror, FULL_DISK)):
        raise BadInput(f"no space was left for {cell.key} ({reason}): free some and start the study again")
    return reason


@contextmanager
def _translate_full_disk(study: Study) -> Iterator[None]:
    """Turn the system's error about a full disk, such as for a log, into bad input."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise BadInput(f"no space is left for {study.root} ({error}): free some and start the study again") from None


def _job(study: Study, cell: Cell, ledger: Ledger, extra: Sequence[str]) -> Job:
    where = ("--run.root", str(study.root), "--run.name", cell.key)
    return Job(cell, ("fit", *cell.arguments, *extra, *where), study.root, ledger.log(cell))


def _covering(cells: Sequence[Cell]) -> list[Cell]:
    """Choose a few cells that together have every label of every axis but seeds and repeats."""
    places = {
        cell.key: {(axis, label) for axis, label in cell.labels.items() if axis not in REPLICATES} for cell in cells
    }
    chosen = [cells[0]]
    missing = set[tuple[str, str]]().union(*places.values()) - places[cells[0].key]
    while missing:
        best = max(cells, key=lambda cell: len(places[cell.key] & missing))
        chosen.append(best)
        missing -= places[best.key]
    return chosen
