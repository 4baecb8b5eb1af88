"""The ledger, the folder of a study's records: the state of each cell, and a lock against other studies."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import lru_cache
from pathlib import Path

from tbft import atomic
from tbft.energy.metering.process_cost import up_to_exit
from tbft.errors import BadInput
from tbft.paths import is_file, user_path
from tbft.schema import PROCESS_START, RESULT_FILE, SCHEMA
from tbft.study.reporting.ledger_reading import STUDY_FILE, SUPERSEDED, read_cells
from tbft.study.reporting.record import HalfWritten, read_record
from tbft.study.running.executors.job import ProcessUse
from tbft.study.running.grid import Cell

LOCK_FILE = ".study.lock"
LOGS = "logs"
_BASE = "base_sha256"
"""What is kept of a base model's file: of the same path, another file makes other results."""


class State(Enum):
    """The state of a cell in the ledger."""

    NEW = "new"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    HALF_WRITTEN = "half-written"
    FOREIGN = "foreign"


class Ledger:
    """The records of a study below one folder.

    Args:
        root: The folder; it is made if it is missing.

    Raises:
        BadInput: When the folder cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            (root / LOGS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"cannot make the ledger {root} ({error.strerror}): choose another --root") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the ledger against other studies; the kernel releases the lock however this process ends.

        Raises:
            BadInput: When another study works in the ledger, or it cannot be locked.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.root / LOCK_FILE, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise BadInput(f"another study is at work on {self.root}: wait for it, or choose another --root") from None
        except OSError as error:
            raise BadInput(f"cannot lock {self.root} ({error.strerror}): choose another --root") from None
        try:
            yield
        finally:
            lock.release()

    def state(self, cell: Cell) -> State:
        """Read the state of a cell."""
        path = self.result(cell)
        if not path.exists():
            return State.NEW
        try:
            return State(read_record(path).status)
        except HalfWritten:
            return State.HALF_WRITTEN
        except BadInput:
            return State.FOREIGN

    def result(self, cell: Cell) -> Path:
        """Return the path of a cell's record."""
        return self.root / cell.key / RESULT_FILE

    def log(self, cell: Cell) -> Path:
        """Return the path of the file that receives what a cell prints."""
        return self.root / LOGS / f"{cell.key}.log"

    def is_used(self) -> bool:
        """Return whether a study has used this folder before."""
        return (self.root / STUDY_FILE).exists()

    def enter(self, cells: Sequence[Cell]) -> None:
        """Write the list of cells, by which a report knows what is still to run and what no longer counts.

        Cells of earlier plans are kept and marked as superseded until a plan has them again. A changed recipe makes
        cells with other keys, and its records must not be averaged with those of the old recipe.

        Raises:
            BadInput: When the file cannot be written or is not a study's list of cells, or a base model's file was
                changed after cells were completed with it.
        """
        entries = {key: {**entry, SUPERSEDED: True} for key, entry in read_cells(self.root).items()}
        for cell in cells:
            known = {"labels": dict(cell.labels), "arguments": list(cell.arguments), SUPERSEDED: False}
            before = entries.get(cell.key, {})
            if (base := _file_of_base(cell)) is not None:
                known[_BASE] = _digest(base)
                if before.get(_BASE, known[_BASE]) != known[_BASE] and self.state(cell) is State.COMPLETED:
                    raise BadInput(
                        f"{cell.key} is completed with other weights than {base} has now (model.base): choose another "
                        "--root, or give the file of before"
                    )
            entries[cell.key] = before | known
        self._write_cells(entries)

    def share(self, cells: Sequence[Cell]) -> None:
        """Note in the list of cells that these share their machine; call it before they run, in case of a crash."""
        if cells:
            entries = read_cells(self.root)
            for cell in cells:
                entries[cell.key]["shared_machine"] = True
            self._write_cells(entries)

    def mark_shared(self, cells: Sequence[Cell]) -> None:
        """Mark the records of completed cells that shared their machine."""
        entries = read_cells(self.root)
        for cell in cells:
            path = self.result(cell)
            if entries[cell.key].get("shared_machine") and self.state(cell) is State.COMPLETED:
                content = json.loads(path.read_text(encoding="utf-8"))
                if not content.get("shared_machine"):
                    self.write(path, {**content, "shared_machine": True})

    def complete_process(self, cell: Cell, use: ProcessUse) -> None:
        """Count the cost of a completed cell's process up to its exit, which the process itself cannot record.

        Args:
            cell: The cell.
            use: What its process used, as the study's process saw it.
        """
        content = json.loads(self.result(cell).read_text(encoding="utf-8"))
        if (content.get("process") or {}).get("since") == PROCESS_START:
            content["process"] = up_to_exit(content["process"], use.cpu_seconds, use.wall_seconds)
            self.write(self.result(cell), content)

    def fail(self, cell: Cell, reason: str) -> None:
        """Record that a cell failed and why; a record of failure that the run itself wrote keeps its own reason."""
        content: dict[str, object] = {"schema": SCHEMA, "status": State.FAILED.value, "name": cell.key}
        if self.state(cell) is State.FAILED:
            content = json.loads(self.result(cell).read_text(encoding="utf-8"))
        self.write(self.result(cell), {"error": reason, **content})

    def _write_cells(self, entries: dict[str, dict[str, object]]) -> None:
        self.write(self.root / STUDY_FILE, {"schema": SCHEMA, "cells": entries})

    def write(self, path: Path, content: dict[str, object]) -> None:
        """Write a JSON file as a whole or not at all.

        Raises:
            BadInput: When the file cannot be written, such as on a full disk.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_text(path, json.dumps(content, indent=1))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise BadInput(f"cannot write {path} ({reason}): free some space and start the study again") from None


def _file_of_base(cell: Cell) -> Path | None:
    """The file that a cell's own options name as base model; None for a shipped one, which has a revision."""
    pairs = zip(cell.arguments, cell.arguments[1:], strict=False)
    given = [value for option, value in pairs if option == "--model.base"]
    file = user_path(given[-1]) if given else None
    return file if file is not None and is_file(file) else None


@lru_cache(maxsize=8)
def _digest_at(file: Path, modified_ns: int, size: int) -> str:
    """Hash a file once, however many cells name it."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _digest(file: Path) -> str:
    found = file.stat()
    return _digest_at(file.resolve(), found.st_mtime_ns, found.st_size)
