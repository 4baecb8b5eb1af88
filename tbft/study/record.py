"""What a study reads back from disk: one record a run, and what is wrong with the others."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tbft.errors import BadInput

SCHEMA = 1
RESULT_FILE = "result.json"
STUDY_FILE = "study.json"
PHASES = ("prepare", "train", "validate", "save")  # what `adaptation` is the sum of
NOT_RUN = "not run"  # the state of a cell without a record
SUPERSEDED = "superseded"  # the state of a cell that the study's present plan no longer has
BUSY_THREADS = 0.1  # that other programs keep busy on average, above which the machine's joules are not the run's
STATUSES = ("completed", "interrupted", "failed")
LEVEL_BLOCK = {"input": "block1", "feature": "block3", "output": "fc"}  # the paper's table 1


Place = frozenset[tuple[str, str]]
"""A cell's labels by axis, but for strategy, seed and repeat."""


@dataclass(frozen=True)
class CurvePoint:
    """One validation during the adaptation, and what had been spent by then.

    Attributes:
        accuracy: Validation accuracy, a fraction of 1.
        joules: Energy since the start of the adaptation.
    """

    accuracy: float
    joules: float


@dataclass(frozen=True)
class Record:
    """One run as its `result.json` tells it.

    Attributes:
        key: Name of the run's folder, the cell's key in a study.
        status: `completed`, `interrupted` or `failed`.
        level: Drift level: `input`, `feature` or `output`; empty where the record says none.
        dataset: Name of the data set.
        drift: Name of the drift with its severity, such as `gaussian_noise 5`.
        series: The strategy as tables name it: `block` (the level's own), a single block's name, `full`, ...
        train_size: Labelled target images.
        seed: The run's seed.
        accuracy: Fractions of 1: `base`, `validation`, `test`.
        joules: By phase, with their sum as `adaptation`.
        cpu_seconds: By phase, with `adaptation`.
        wall_seconds: By phase, with `adaptation`.
        peak_rss_mib: Peak resident memory in MiB.
        curve: Validations over the adaptation, oldest first; empty where none was recorded.
        measured: Whether the energy comes from a sensor rather than a model.
        void: Why the run's cost must not be used (a throttled board), or empty.
        shared_machine: Whether other cells ran on the same machine meanwhile.
        busy_threads: Threads that other programs kept busy meanwhile, on average; 0 where it is not known.
        machine: Where it ran.
        error: Why a failed run failed, where the record says so.
        labels: The study's axes and this cell's place on each; empty outside a study.
        planned: Strategies that its study's plan has at this place on the other axes; empty outside a study.
    """

    key: str
    status: str
    level: str = ""
    dataset: str = ""
    drift: str = ""
    series: str = ""
    train_size: int = 0
    seed: int = 0
    accuracy: Mapping[str, float] = field(default_factory=dict)
    joules: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    wall_seconds: Mapping[str, float] = field(default_factory=dict)
    peak_rss_mib: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    measured: bool = False
    void: str = ""
    shared_machine: bool = False
    busy_threads: float = 0.0
    machine: str = ""
    error: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    planned: frozenset[str] = frozenset()

    @property
    def completed(self) -> bool:
        """Whether the run went to its end."""
        return self.status == "completed"

    @property
    def disturbed(self) -> bool:
        """Whether other programs or cells worked beside the run: their energy is in its joules."""
        return self.shared_machine or self.busy_threads > BUSY_THREADS


@dataclass(frozen=True)
class Problem:
    """A record that no table can use, and why.

    Attributes:
        key: Name of the run's folder; of superseded ones, how many there are.
        kind: `half-written`, `foreign`, `failed`, `interrupted`, `void`, `not run`, or `superseded`.
        reason: One line for the reader.
    """

    key: str
    kind: str
    reason: str


class HalfWritten(BadInput):
    """A record that ends before its end, as a crash leaves it."""


def read_record(path: Path, labels: Mapping[str, str] | None = None) -> Record:
    """Read one `result.json`.

    Args:
        path: The file.
        labels: The cell's place on the axes of its study.

    Raises:
        HalfWritten: When it is not whole JSON.
        BadInput: When it is of another schema, or lacks what a completed run must say.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise HalfWritten(f"{path} is half written ({error}): run the cell again") from None
    except OSError as error:
        raise BadInput(f"cannot read {path} ({error.strerror}): check the file and its permissions") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise BadInput(f"{path} has schema {found!r}, not {SCHEMA}: it was written by another version of tbft")
    if content.get("status") not in STATUSES:
        raise BadInput(f"{path} has status {content.get('status')!r}, not one of {', '.join(STATUSES)}")
    try:
        return _record(path.parent.name, content, dict(labels or {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be understood ({error})"
        raise BadInput(f"{path} {reason}: it is not a record of schema {SCHEMA}") from None


def _record(key: str, content: dict[str, Any], labels: dict[str, str]) -> Record:
    if content["status"] != "completed":
        return Record(key, content["status"], error=str(content.get("error") or ""), labels=labels)
    drift = content["drift"]
    name, severity = drift.get("name") or "", drift.get("severity")
    source = content.get("energy_source") or {}
    void = content.get("void")
    accuracy = _numbers(content["accuracy"])
    if "test" not in accuracy:
        raise KeyError("accuracy.test")
    return Record(
        key=key,
        status="completed",
        level=drift.get("level") or "",
        dataset=content["dataset"] or "",
        drift=f"{name} {severity}" if severity is not None else name,
        series=_series(content["strategy"], content["blocks"], drift.get("level")),
        train_size=int(content["train_size"]),
        seed=int(content["seed"]),
        accuracy=accuracy,
        joules=_numbers(content["joules"]),
        cpu_seconds=_numbers(content["cpu_seconds"]),
        wall_seconds=_numbers(content["wall_seconds"]),
        peak_rss_mib=content.get("peak_rss_mib"),
        curve=tuple(_curve(content.get("curve") or ())),
        measured=bool(source.get("measured", False)),
        void=("marked void" if void is True else str(void)) if void else "",
        shared_machine=bool(content.get("shared_machine", False)),
        busy_threads=float((content.get("conditions") or {}).get("other_programs_threads") or 0.0),
        machine=str((content.get("environment") or {}).get("machine", "")),
        labels=labels,
    )


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Keep what is a finite number: an unknown figure is absent, never zero."""
    return {name: float(value) for name, value in values.items() if _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _curve(points: Any) -> list[CurvePoint]:
    """Take the validations whose accuracy and energy are both known."""
    kept = []
    for point in points:
        values = [point.get(name) for name in ("validation_accuracy", "joules")]
        if all(_is_number(value) for value in values):
            kept.append(CurvePoint(*(float(value) for value in values)))
    return kept


def _series(strategy: str, blocks: list[str], level: str | None) -> str:
    """Name a strategy by what it tunes: the level's own block is `block`, any other choice its blocks."""
    if strategy != "block" or blocks == [LEVEL_BLOCK.get(level or "")]:
        return strategy
    return "+".join(blocks)


def read_ledger(folder: Path) -> tuple[list[Record], list[Problem]]:
    """Read every record below a folder, which may hold one study or several.

    Args:
        folder: The ledger, or a folder of ledgers.

    Returns:
        The completed records, and the problems of the others, both in the order of their keys.

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
        if record.void:
            problems.append(Problem(record.key, "void", f"its cost is left out: {record.void}"))
        planned = plans.get(path.parent.parent, {}).get(_place(record.labels), set())
        records.append(replace(record, planned=frozenset(planned)))
    for root, entries in cells.items():
        missing = [key for key, entry in entries.items() if root / key not in seen and not entry.get(SUPERSEDED)]
        problems += [Problem(key, NOT_RUN, "the study has not come to it") for key in missing]
    for root, number in superseded.items():
        reason = f"the present plan of {root.name} does not have them; a study that does takes them up again"
        problems.append(Problem(f"{number} of earlier plans", SUPERSEDED, reason))
    if not records and not problems:
        raise BadInput(f"{folder} holds no {RESULT_FILE}: give the folder that a study or a fit wrote its runs to")
    return records, problems


def _plan(entries: Mapping[str, Mapping[str, Any]]) -> dict[Place, set[str]]:
    """Strategies that a study's present plan has at each place on the other axes."""
    plan: dict[Place, set[str]] = defaultdict(set)
    for entry in entries.values():
        labels = entry.get("labels", {})
        if "strategy" in labels and not entry.get(SUPERSEDED):
            plan[_place(labels)].add(labels["strategy"])
    return plan


def _place(labels: Mapping[str, str]) -> Place:
    return frozenset((axis, label) for axis, label in labels.items() if axis not in ("strategy", "seed", "repeat"))


def read_cells(root: Path) -> dict[str, dict[str, Any]]:
    """Read which cells a ledger is meant to hold: key to `{"labels": ..., "arguments": ..., "superseded": ...}`.

    Raises:
        BadInput: When the file is not a study's.
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
