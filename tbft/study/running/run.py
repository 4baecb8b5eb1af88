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
    """A listener that is told of each cell that ended."""

    def ended(self, outcome: Outcome) -> None:
        """Count a cell that ended."""
        ...


@dataclass(frozen=True)
class Summary:
    """The outcome of a study.

    Attributes:
        completed: Number of cells with a completed record, from now or earlier.
        ran: Number of cells that ran now.
        failed: Reasons of the cells that failed, by key.
        foreign: Keys of cells whose record another version of tbft wrote; these records are left alone.
    """

    completed: int
    ran: int
    failed: dict[str, str]
    foreign: tuple[str, ...]


def plan(study: Study, check: Check) -> list[Cell]:
    """Make the cells and check their options before anything runs.

    Args:
        study: The study.
        check: A function that raises BadInput on arguments that `fit` does not accept.

    Raises:
        BadInput: When the grid is wrong or `fit` does not accept an option.
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
        cells: Cells of the study in the order in which they run.
        executor: The executor that runs them.
        resume: Whether to go on with a ledger that a study has used before.
        retries: How often to run a failed cell again; a cell that failed on bad input is not run again.
        shared: Whether cells share a machine, which is marked in their records.
        extra: A function that returns further arguments of a cell that do not change its result, such as W&B's.
        progress: A function that makes a listener for ended cells, from the number of all cells and of those to run.

    Raises:
        BadInput: When the ledger is in use, cannot be written, or may not be resumed, or when the disk is full, so that
            no further cell could write its record.
        KeyboardInterrupt: When this process or a cell is interrupted; completed cells stay completed.
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
    """Write the outcome of a cell into the ledger; return why it failed, or an empty text.

    Raises:
        BadInput: When the cell failed because the disk is full.
    """
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
    """Turn the system's error about a full disk, such as when a log is written, into `BadInput`."""
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
    """Return a few cells that together have every label of every axis except seeds and repeats."""
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
