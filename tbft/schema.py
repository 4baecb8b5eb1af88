"""Definitions that every part of tbft shares: phases, drift levels, blocks, exit codes and fields of a run's record.

This module imports the standard library only, so that reports and devices can use it without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NotRequired, TypedDict, get_args

ADAPTATION = ("prepare", "train", "validate", "save")
"""The phases that an adaptation consists of."""

PHASES = (*ADAPTATION, "test")
"""All phases in the order of a run; testing for the report is not part of the adaptation."""

LEVELS = ("input", "feature", "output")
"""Drift levels: how the world is sensed, which sub-populations of a class appear, what the labels mean."""

HEAD = "fc"
"""Name of the block that is the linear layer; every other block of a network is a stage."""

DONE, FAILED, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""Exit codes: done, the run failed, bad usage or bad input, ended by SIGINT, ended by SIGTERM."""

DEVELOPMENT, HELD_OUT = "development", "held out"
"""Role of a study's drift: the recipes were found on development drifts, and nothing was tuned on held-out ones."""

SCHEMA = 1
"""Version of the record; within one version fields may be added, but none changes its meaning."""

RESULT_FILE = "result.json"
"""Name of a run's record in the run's folder."""

PROCESS_START, RUN_START, RESUME = "process start", "run start", "resume"
"""Where the count of a process's cost starts; ``resume`` if an earlier, interrupted process did a part of the run."""

RECORDED, EXIT = "record", "exit"
"""Where that count ends: at the writing of the record, or at the end of the process, which only its parent can see."""

Status = Literal["completed", "interrupted", "failed"]
STATUSES: tuple[str, ...] = get_args(Status)
"""Ways in which a run can end."""


def block_of(level: str, blocks: Sequence[str]) -> str:
    """Choose the block that the method tunes for a drift level (arXiv:2403.15905, section 3).

    >>> [block_of(level, ("block1", "block2", "block3", "block4", "fc")) for level in LEVELS]
    ['block1', 'block4', 'fc']

    Args:
        level: one of ``LEVELS``.
        blocks: names of all blocks of the network, in the order in which they run.

    Returns:
        The first stage for ``input``, the last stage for ``feature``, the linear layer for ``output``.

    Raises:
        KeyError: if there is no such level.
    """
    stages = [name for name in blocks if name != HEAD]
    return dict(zip(LEVELS, (stages[0], stages[-1], HEAD), strict=True))[level]


class RecordedDrift(TypedDict):
    """What changed between source and target: level, name, and severity from 1 to 5 if the drift has one."""

    level: str | None
    name: str
    severity: int | None
    levels: NotRequired[list[str]]
    """All drift levels that are known from data and options, possibly with ``prior``; missing if none can be known."""
    diagnosed: NotRequired[list[str]]
    """Levels that the diagnosis found in the sample, possibly with ``prior``; only if nobody named a level."""


class CurveEntry(TypedDict):
    """One validation during the adaptation, and the joules and seconds spent by then."""

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
    has ``schema``, ``status``, ``name`` and ``error``. An unknown figure is ``None``.
    """

    schema: int
    status: Status
    name: str
    """Name of the run's folder."""
    error: str | None
    """Why the run was not completed."""
    config_hash: str
    """Hash of all options that the outcome depends on."""
    seed: int
    dataset: str
    drift: RecordedDrift
    strategy: str
    """What was tuned: ``block`` for the level's own block, or ``full``, ``bn``, names of blocks joined by ``+``, ..."""
    blocks: list[str]
    """The blocks that were tuned."""
    level_block: str | None
    """The block of this run's network that belongs to the drift level; missing in older records."""
    statistics: str
    """Policy of the BatchNorm statistics: ``source``, ``refresh`` or ``batch``."""
    aligned: NotRequired[bool]
    """Whether the front block was aligned with the source, without labels, before anything was trained; missing if the
    ladder chose (see ``remedies``), and in older records."""
    train_size: int
    """Number of labelled target images, those for validation included."""
    accuracy: dict[str, float | None]
    """Accuracies as fractions of 1: the base model's on test images (``base``) and validation images
    (``base_validation``), and the kept model's on both (``test``, ``validation``)."""
    remedies: list[dict[str, Any]]
    """Each remedy that was tried, in order: ``remedies``, ``accuracy`` with its interval, ``gain``, ``p``, ``cost`` (in
    multiply-adds) or ``cpu_seconds``, ``accepted`` and ``reason``; only if nobody named the drift level. With
    ``ladder.hindsight`` also ``test``, the combination's accuracy on the test images."""
    diagnosis: dict[str, Any]
    """What drifted and what to do next: ``verdict``, ``reason``, ``advice``, ``left``; only if nobody named the drift
    level."""
    kept: str | None
    """Which weights were kept: ``adapted`` or ``base``."""
    kept_reason: str | None
    """Why the base model was kept."""
    joules: dict[str, float]
    """Energy by phase, with the sum over ``ADAPTATION`` as ``adaptation``."""
    cpu_seconds: dict[str, float]
    """Processor time by phase and as ``adaptation``."""
    wall_seconds: dict[str, float]
    """Wall time by phase and as ``adaptation``."""
    process_cpu_seconds: float
    """CPU-seconds of the whole process, imports and children included, up to the writing of the record."""
    process: dict[str, Any]
    """Cost of the whole process, the test's part of it, and peak memory up to the end of the adaptation: see
    ``tbft.energy.metering.process_cost``. A study that isolates its cells counts up to the end of the process."""
    joules_net: dict[str, float] | None
    """Energy by phase, without what the machine draws at rest."""
    energy_source: dict[str, Any]
    """Source of the power of ``cpu``, ``ram`` and ``gpu``; ``measured`` is false if any of it is modelled."""
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
    """Number of parameters that were ``trained``, and in ``total``."""
    epochs: int
    steps: int
    curve: list[CurveEntry]
    """Validations, oldest first."""
    skipped_pictures: int
    environment: dict[str, Any]
    """Versions and ``revision`` of tbft, ``device``, ``number_format``, ``threads``, ``machine`` and the processor's
    ``instructions`` as torch uses them."""
