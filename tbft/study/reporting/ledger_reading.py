"""Reads a ledger: the records that a report can use, and the problems of the others."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tbft.errors import BadInput
from tbft.schema import RESULT_FILE, SCHEMA
from tbft.study.reporting.record import HalfWritten, Record, read_record

STUDY_FILE = "study.json"
NOT_RUN = "not run"  # the state of a cell without a record
SUPERSEDED = "superseded"  # the state of a cell that the study's present plan no longer has

Place = frozenset[tuple[str, str]]
"""Axis and label of a cell on each axis except strategy, seed and repeat."""


@dataclass(frozen=True)
class Problem:
    """A record that tables cannot use, or not in full, and the reason.

    Attributes:
        key: Name of the run's folder; for superseded runs, the number of them.
        kind: `half-written`, `foreign`, `failed`, `interrupted`, `not tested`, `void`, `not run`, or `superseded`.
        reason: The reason in one line.
    """

    key: str
    kind: str
    reason: str


def read_ledger(folder: Path) -> tuple[list[Record], list[Problem]]:
    """Read every record below a folder, which may hold one study or several.

    Args:
        folder: The ledger, or a folder of ledgers.

    Returns:
        The completed records, and the problems; a void record is in both.

    Raises:
        BadInput: When the folder does not exist or holds no record at all.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: give the folder that a study or a fit wrote its runs to")
    records: list[Record] = []
    problems: list[Problem] = []
    cells = {path.parent: read_cells(path.parent) for path in sorted(folder.rglob(STUDY_FILE))}
    plans = {root: _plan(entries) for root, entries in cells.items()}
    seen = set()
    superseded: Counter[Path] = Counter()
    for path in sorted(folder.rglob(RESULT_FILE)):
        seen.add(path.parent)
        entry = cells.get(path.parent.parent, {}).get(path.parent.name, {})
        if entry.get(SUPERSEDED):
            superseded[path.parent.parent] += 1
            continue
        try:
            record = read_record(path, entry.get("labels"))
        except HalfWritten as error:
            problems.append(Problem(path.parent.name, "half-written", str(error)))
            continue
        except BadInput as error:
            problems.append(Problem(path.parent.name, "foreign", str(error)))
            continue
        if not record.completed:
            problems.append(Problem(record.key, record.status, record.error or "its record gives no reason"))
            continue
        if "test" not in record.accuracy:
            problems.append(Problem(record.key, "not tested", "it had no image to test on, and no table can use it"))
            continue
        if record.void:
            problems.append(Problem(record.key, "void", f"its cost is left out: {record.void}"))
        root = path.parent.parent
        planned = frozenset(plans.get(root, {}).get(_place(record.labels), set()))
        ledger = root.relative_to(folder).as_posix() if root.is_relative_to(folder) else ""
        records.append(replace(record, planned=planned, ledger=ledger))
    for root, entries in cells.items():
        missing = [key for key, entry in entries.items() if root / key not in seen and not entry.get(SUPERSEDED)]
        problems += [Problem(key, NOT_RUN, "the study has not reached it") for key in missing]
    for root, number in superseded.items():
        reason = f"the present plan of {root.name} does not have them; a study that does takes them up again"
        problems.append(Problem(f"{number} of earlier plans", SUPERSEDED, reason))
    if not records and not problems:
        raise BadInput(f"{folder} holds no {RESULT_FILE}: give the folder that a study or a fit wrote its runs to")
    return records, problems


def _plan(entries: Mapping[str, Mapping[str, Any]]) -> dict[Place, set[str]]:
    """Return the strategies that a study's present plan has at each place on the other axes."""
    plan: dict[Place, set[str]] = defaultdict(set)
    for entry in entries.values():
        labels = entry.get("labels", {})
        if "strategy" in labels and not entry.get(SUPERSEDED):
            plan[_place(labels)].add(labels["strategy"])
    return plan


def _place(labels: Mapping[str, str]) -> Place:
    return frozenset((axis, label) for axis, label in labels.items() if axis not in ("strategy", "seed", "repeat"))


def read_cells(root: Path) -> dict[str, dict[str, Any]]:
    """Read the plan of a ledger: by key of each cell its `labels`, `arguments` and `superseded`; empty without a plan.

    Raises:
        BadInput: When the file is not a study's list of cells, or has another schema.
    """
    path = root / STUDY_FILE
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise BadInput(f"{path} has schema {content['schema']!r}, not {SCHEMA}: use another folder")
        return dict(content["cells"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is not a study's list of cells ({error}): move it away") from None
