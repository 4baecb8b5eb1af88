"""The record of one run, as a report reads it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tbft.errors import BadInput
from tbft.runs.ladder_plot import Step, steps_of
from tbft.schema import EXIT, HEAD, PROCESS_START, SCHEMA, STATUSES, CurveEntry, RunRecord, block_of
from tbft.study.reporting.climbed import Climbed, read_climb

PART = "part"  # name of the label, beside those of the axes, of the part that a cell's drift belongs to
UNLABELLED = "auto-unlabelled"  # name of the strategy of a climb without labels
BUSY_THREADS = 0.1  # if other programs keep more threads busy on average, the machine's joules are not the run's alone


@dataclass(frozen=True)
class CurvePoint:
    """One validation during the adaptation, and the energy spent until then.

    Attributes:
        accuracy: Validation accuracy, a fraction of 1.
        joules: Joules since the start of the adaptation.
    """

    accuracy: float
    joules: float


@dataclass(frozen=True)
class Record:
    """One run as a report sees it.

    Attributes:
        key: Name of the run's folder; in a study the key of its cell.
        status: `completed`, `interrupted` or `failed`.
        level: Drift level: `input`, `feature` or `output`; empty if the record names none.
        dataset: Name of the data set.
        drift: Name of the drift with its severity, such as `gaussian_noise 5`.
        series: The strategy as tables name it: `block` (the level's own), a single block's name, `full`, ...
        level_block: The block of the run's network that belongs to the level; empty if the record does not say it.
        train_size: Number of labelled target images.
        seed: Seed of the run.
        accuracy: Accuracies, fractions of 1: `base`, `validation`, `test`.
        joules: Joules by phase, with the adaptation's sum as `adaptation`.
        cpu_seconds: CPU-seconds by phase, with the adaptation's sum as `adaptation`.
        wall_seconds: Wall-clock seconds by phase, with the adaptation's sum as `adaptation`.
        process: `cpu_seconds` and `joules` of the whole process, from its start to its end and children included, but
            without testing and reading the test images. Empty unless the run had a process of its own, in a study that
            isolates its cells.
        peak_rss_mib: Peak resident memory in MiB, up to the end of the adaptation.
        curve: Validations during the adaptation, oldest first; empty if none was recorded.
        ladder: Steps up the ladder of remedies, in order; empty if the run did not climb.
        measured: Whether the energy comes from sensors alone and not from a model.
        void: The reason why the run's cost must not be used (a throttled board), or empty.
        shared_machine: Whether other cells ran on the same machine at the same time.
        inflated: Whether the CPU-seconds are too high because threads waited for one another beside other programs.
        busy_threads: Mean number of threads that other programs kept busy during the run; 0 if it is not known.
        machine: Name of the machine.
        instructions: The processor's instruction set as torch used it; empty if the record does not say it.
        number_format: Number format of the convolutions; empty if the record does not say it.
        threads: Number of threads that computed; None if the record does not say it.
        revision: Revision of tbft; empty if the record does not say it.
        error: The reason of a run that was not completed; empty if the record does not say it.
        labels: Labels of the run's cell by axis; empty outside of a study.
        levels: All levels that drifted, as data and options tell; None if they do not.
        climbed: The part of the record that only a climb writes; None for other runs.
        ledger: Folder of the run's ledger, relative to the folder that is reported on.
        apart: What sets the run apart from runs with the same labels, in the order in which tables name it.
        planned: Strategies in the study's plan at this place on the other axes; empty outside of a study.
    """

    key: str
    status: str
    level: str = ""
    dataset: str = ""
    drift: str = ""
    series: str = ""
    level_block: str = ""
    train_size: int = 0
    seed: int = 0
    accuracy: Mapping[str, float] = field(default_factory=dict)
    joules: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    wall_seconds: Mapping[str, float] = field(default_factory=dict)
    process: Mapping[str, float] = field(default_factory=dict)
    peak_rss_mib: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    ladder: tuple[Step, ...] = ()
    measured: bool = False
    void: str = ""
    shared_machine: bool = False
    inflated: bool = False
    busy_threads: float = 0.0
    machine: str = ""
    instructions: str = ""
    number_format: str = ""
    threads: int | None = None
    revision: str = ""
    error: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    levels: frozenset[str] | None = None
    climbed: Climbed | None = None
    ledger: str = ""
    apart: tuple[str, ...] = ()
    planned: frozenset[str] = frozenset()

    @property
    def part(self) -> str:
        """The part of the study that the drift belongs to, such as `development`; empty if the study has no parts."""
        return self.labels.get(PART, "")

    @property
    def completed(self) -> bool:
        """Whether the run was completed."""
        return self.status == "completed"

    @property
    def disturbed(self) -> bool:
        """Whether other programs or cells worked beside the run, so that its joules include theirs."""
        return self.shared_machine or self.busy_threads > BUSY_THREADS


class HalfWritten(BadInput):
    """Raised for a record that is not whole, as a crash may leave it."""


def read_record(path: Path, labels: Mapping[str, str] | None = None) -> Record:
    """Read one `result.json`.

    Args:
        path: Path of the file.
        labels: Labels of the run's cell by axis; None outside of a study.

    Raises:
        HalfWritten: When the file is not whole JSON.
        BadInput: When the file cannot be read, has another schema, or lacks what a completed run must record.
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
        return _record(path.parent.name, cast(RunRecord, content), dict(labels or {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be understood ({error})"
        raise BadInput(f"{path} {reason}: it is not a record of schema {SCHEMA}") from None


def _record(key: str, content: RunRecord, labels: dict[str, str]) -> Record:
    if content["status"] != "completed":
        return Record(key, content["status"], error=str(content.get("error") or ""), labels=labels)
    drift = content["drift"]
    name, severity = drift.get("name") or "", drift.get("severity")
    source, environment = content.get("energy_source") or {}, content.get("environment") or {}
    void = content.get("void")
    accuracy = _numbers(content["accuracy"])
    if "test" not in content["accuracy"]:
        raise KeyError("accuracy.test")
    level_block, climbed = _level_block(content), read_climb(content)
    return Record(
        key=key,
        status="completed",
        level=drift.get("level") or "",
        dataset=content["dataset"] or "",
        drift=f"{name} {severity}" if severity is not None else name,
        series=UNLABELLED
        if climbed and not climbed.labelled
        else _series(content["strategy"], content["blocks"], level_block),
        level_block=level_block,
        train_size=int(content["train_size"]),
        seed=int(content["seed"]),
        accuracy=accuracy,
        joules=_numbers(content["joules"]),
        cpu_seconds=_numbers(content["cpu_seconds"]),
        wall_seconds=_numbers(content["wall_seconds"]),
        process=_whole_process(content),
        peak_rss_mib=content.get("peak_rss_mib"),
        curve=tuple(_curve(content.get("curve") or ())),
        ladder=tuple(steps_of(content)),
        measured=bool(source.get("measured", False)),
        void=("marked void" if void is True else str(void)) if void else "",
        shared_machine=bool(content.get("shared_machine", False)),
        inflated=bool((content.get("conditions") or {}).get("cpu_seconds_inflated")),
        busy_threads=float((content.get("conditions") or {}).get("other_programs_threads") or 0.0),
        machine=str(environment.get("machine") or ""),
        instructions=str(environment.get("instructions") or ""),
        number_format=str(environment.get("number_format") or ""),
        threads=environment.get("threads"),
        revision=str(environment.get("revision") or ""),
        labels=labels,
        levels=None if drift.get("levels") is None else frozenset(drift["levels"]),
        climbed=climbed,
    )


def _level_block(content: RunRecord) -> str:
    """Read which block of the run's network belongs to its drift level; empty if the record does not say it.

    Without the field `level_block`, it is the block that was tuned if the strategy is `block`. At input and output
    level it is the same block in every network. At feature level it is known if the whole network was tuned.
    """
    if "level_block" in content:
        return content["level_block"] or ""
    level, strategy, blocks = content["drift"].get("level") or "", content["strategy"], content["blocks"]
    if strategy == "block":
        return "+".join(blocks)
    if level in ("input", "output"):
        return block_of(level, ("block1", HEAD))
    stages = [f"block{number}" for number in range(1, len(blocks))]
    whole_network = len(stages) > 1 and blocks == [*stages, HEAD] and strategy != "+".join(blocks)
    return block_of(level, blocks) if level and whole_network else ""


def _whole_process(content: RunRecord) -> dict[str, float]:
    """Read the process's cost without its test, if the process was the run's own and was counted up to its exit."""
    process = content.get("process") or {}
    if process.get("since") != PROCESS_START or process.get("until") != EXIT:
        return {}
    whole, test = _numbers(process), _numbers(process.get("test") or {})
    return {name: whole[name] - test[name] for name in ("cpu_seconds", "joules") if name in whole and name in test}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Keep finite numbers only: an unknown figure is absent, never zero."""
    return {name: float(value) for name, value in values.items() if _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _curve(entries: Sequence[CurveEntry]) -> list[CurvePoint]:
    """Return the validations whose accuracy and joules are both known."""
    values = [(entry.get("validation_accuracy"), entry.get("joules")) for entry in entries]
    return [CurvePoint(float(a), float(j)) for a, j in values if _is_number(a) and _is_number(j)]


def _series(strategy: str, blocks: Sequence[str], level_block: str) -> str:
    """Return the strategy, or if a strategy `block` did not tune the level's own block, the names of its blocks."""
    if strategy != "block" or list(blocks) == [level_block]:
        return strategy
    return "+".join(blocks)
