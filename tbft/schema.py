"""What every part of tbft must agree on: phases, drift levels, blocks, exit codes and the fields of a run's record.

It imports the standard library only, so that a report and a device can read it without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NotRequired, TypedDict, get_args

ADAPTATION = ("prepare", "train", "validate", "save")
"""The phases that bringing the model up to date consists of."""

PHASES = (*ADAPTATION, "test")
"""All phases, in the order in which a run comes to them; testing for the report is not part of the adaptation."""

LEVELS = ("input", "feature", "output")
"""Drift levels, from the way the world is sensed to what the labels mean."""

HEAD = "fc"
"""The block that is the linear layer; every other block of a network is a stage."""

DONE, FAILED, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""Exit codes: done, the run failed, bad usage or bad input, ended by SIGINT, ended by SIGTERM."""

DEVELOPMENT, HELD_OUT = "development", "held out"
"""Whether a study's drift is one on which the recipes were found, or one on which nothing was tuned."""

SCHEMA = 1
"""Version of the record; within one version fields are added, and none changes its meaning."""

RESULT_FILE = "result.json"
"""Name of a run's record in the run's folder."""

PROCESS_START, RUN_START, RESUME = "process start", "run start", "resume"
"""Since when a process's cost is counted: ``resume`` where an interrupted process had done a part of the run before."""

RECORDED, EXIT = "record", "exit"
"""Until when: the writing of the record, or the end of the process, which only its parent sees."""

Status = Literal["completed", "interrupted", "failed"]
STATUSES: tuple[str, ...] = get_args(Status)
"""How a run ended."""


def block_of(level: str, blocks: Sequence[str]) -> str:
    """Choose the block that the method tunes for a drift level (arXiv:2403.15905, section 3).

    >>> [block_of(level, ("block1", "block2", "block3", "block4", "fc")) for level in LEVELS]
    ['block1', 'block4', 'fc']

    Args:
        level: One of ``LEVELS``.
        blocks: All blocks of the network in the order in which they run.

    Returns:
        The first stage for ``input``, the last stage for ``feature``, the linear layer for ``output``.

    Raises:
        KeyError: If there is no such level.
    """
    stages = [name for name in blocks if name != HEAD]
    return dict(zip(LEVELS, (stages[0], stages[-1], HEAD), strict=True))[level]


class RecordedDrift(TypedDict):
    """What changed between source and target: level, name, and severity from 1 to 5 where the drift has one."""

    level: str | None
    name: str
    severity: int | None
    levels: NotRequired[list[str]]
    """All that drifted, ``prior`` among it, as data and options tell; missing where they cannot."""
    diagnosed: NotRequired[list[str]]
    """Levels that the sample itself showed, ``prior`` among them; only where nobody named one."""


class CurveEntry(TypedDict):
    """One validation during the adaptation, and what had been spent by then."""

    epoch: int
    step: int
    validation_loss: float
    validation_accuracy: float
    """A fraction of 1."""
    joules: float
    wall_seconds: float


class RunRecord(TypedDict, total=False):
    """The fields of ``result.json``.

    A completed run has all fields that are not marked as optional. A run that failed before it could write its record
    has ``schema``, ``status``, ``name`` and ``error``. Where a figure is unknown its value is ``None``.
    """

    schema: int
    status: Status
    name: str
    """Name of the run's folder."""
    error: str | None
    """Why the run was not completed."""
    config_hash: str
    """Of all options that the outcome depends on."""
    seed: int
    dataset: str
    drift: RecordedDrift
    strategy: str
    """``block`` for the level's own block, or ``full``, ``bn``, names of blocks joined by ``+``, ..."""
    blocks: list[str]
    """The blocks that were tuned."""
    level_block: str | None
    """The block of this run's network that belongs to the drift level; missing in older records."""
    statistics: str
    """Policy of the BatchNorm statistics: ``source``, ``refresh`` or ``batch``."""
    aligned: NotRequired[bool]
    """Whether the front block was aligned with the source, without labels, before anything was trained; missing where
    the ladder chose (see ``remedies``), and in older records."""
    train_size: int
    """Labelled target images, those for validation included."""
    accuracy: dict[str, float | None]
    """Fractions of 1: ``base`` and ``test`` on test images, ``base_validation`` and ``validation`` on validation's."""
    remedies: list[dict[str, Any]]
    """Each remedy that was tried, in order: ``remedies``, ``accuracy`` with its interval, ``gain``, ``p``, ``cost`` (in
    multiply-adds) or ``cpu_seconds``, ``accepted`` and ``reason``; only where nobody named the drift level. With
    ``ladder.hindsight`` also ``test``, the combination's accuracy on the test images."""
    diagnosis: dict[str, Any]
    """What drifted and what to do next: ``verdict``, ``reason``, ``advice``, ``left``; likewise."""
    kept: str | None
    """``adapted`` or ``base``."""
    kept_reason: str | None
    """Why the base model was kept."""
    joules: dict[str, float]
    """By phase, with the sum over ``ADAPTATION`` as ``adaptation``; also the two fields that follow."""
    cpu_seconds: dict[str, float]
    wall_seconds: dict[str, float]
    process_cpu_seconds: float
    """CPU-seconds of the whole process, imports and children included, up to the writing of the record."""
    process: dict[str, Any]
    """What the whole process has cost, what of it was the test's, and peak memory up to the end of the adaptation: see
    ``tbft.energy.metering.process_cost``. A study that isolates its cells counts up to the end of the process."""
    joules_net: dict[str, float] | None
    """By phase, without what the machine draws at rest."""
    energy_source: dict[str, Any]
    """Source of the power of ``cpu``, ``ram`` and ``gpu``; ``measured`` is false where any of it is modelled."""
    co2e_grams: float | None
    idle: dict[str, Any] | None
    conditions: dict[str, Any] | None
    """State of the machine; ``other_programs_threads`` is how many threads other programs kept busy on average."""
    void: str | bool | None
    """Why the run's cost must not be used."""
    shared_machine: bool
    """Whether other cells of the study ran on the machine at the same time; optional."""
    stopped_by: str | None
    """The budget that ended training."""
    peak_rss_mib: float | None
    """Peak resident memory in MiB."""
    parameters: dict[str, int]
    """How many are ``trained``, and how many there are in ``total``."""
    epochs: int
    steps: int
    curve: list[CurveEntry]
    """Validations, oldest first."""
    skipped_pictures: int
    environment: dict[str, Any]
    """Versions and ``revision`` of tbft, ``device``, ``number_format``, ``threads``, ``machine`` and the processor's
    ``instructions`` as torch uses them."""
