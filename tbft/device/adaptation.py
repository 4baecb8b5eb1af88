"""What an adaptation on a device is, and what its two ways share: by a named drift level, and by the sample's word."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tbft.device.levels import Level
from tbft.device.network import Network
from tbft.device.pictures import Sample
from tbft.device.tensors import Tensors
from tbft.device.training import AlignmentRecipe, BlockRecipe, Labels, Phase, Trained, align_front, train_block

NOT_TRAINED = "training diverged, or there was no time for it"


@dataclass
class Adaptation:
    """What an adaptation made.

    Attributes:
        changed: weights that are not the base model's, by state-dict key; empty if the base model stays.
        strategy: remedies that were kept, joined by ``+``; ``none`` if the base model stays.
        blocks: that were tuned.
        statistics: ``source`` or ``refresh``.
        base_validation, validation: accuracy on the validation images, before and after; ``None`` without labels.
        curve, epochs, steps: of training, if there was any.
        stopped: whether the time was up.
        trained: parameters that are others now.
        reason: why the base model stays; ``None`` if it does not.
        skipped: broken pictures that were left out.
        detail: what else was found, for the record.
    """

    changed: Tensors = field(default_factory=dict)
    strategy: str = "none"
    blocks: list[str] = field(default_factory=list)
    statistics: str = "source"
    base_validation: float | None = None
    validation: float | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    epochs: int = 0
    steps: int = 0
    stopped: bool = False
    trained: int = 0
    reason: str | None = None
    skipped: int = 0
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Course:
    """How an adaptation runs.

    Attributes:
        level: of the drift; ``auto`` finds it.
        seed: draws validation images and the order of training.
        deadline: moment of ``time.monotonic`` at which training stops.
        phase: enters a phase of the energy meter.
        spent: joules and seconds so far.
        block: recipe.
        alignment: recipe.
    """

    level: Level
    seed: int
    deadline: float
    phase: Phase
    spent: Callable[[], dict[str, float]]
    block: BlockRecipe = field(default_factory=BlockRecipe)
    alignment: AlignmentRecipe = field(default_factory=AlignmentRecipe)


def may_align(base: Network, made: Adaptation, course: Course) -> bool:
    """Whether there is a graph, time and memory to align the front block; the record says what is missing."""
    if not base.can_align:
        missing = "--memory-mib is too low for it" if base.bundle.has("align") else "the bundle has no source's moments"
        made.detail["not_aligned"] = missing
        return False
    return time.monotonic() < course.deadline


def align(refreshed: Network, pictures: Sample, course: Course) -> tuple[Tensors, int]:
    """Parameters of the front block aligned to the source, by state-dict key; how many steps ran."""
    recipe = course.alignment
    return align_front(refreshed, pictures.pixels, recipe, seed=course.seed, deadline=course.deadline)


def train_cached(network: Network, block: str, train: Sample, validation: Sample, course: Course) -> Trained:
    """Train a block behind its prefix, which runs once.

    Args:
        network: with the statistics and the head that stand.
        block: to train.
        train: pictures with labels.
        validation: likewise.
        course: of the adaptation.
    """
    with course.phase("prepare"):
        cached = [(network.prefix(block, part.pixels), labels_of(part)) for part in (train, validation)]
    return train_block(
        network,
        block,
        cached[0],
        cached[1],
        course.block,
        seed=course.seed,
        deadline=course.deadline,
        phase=course.phase,
        spent=course.spent,
    )


def size_of(network: Network, block: str) -> int:
    """Parameters of what the bundle trains under this name: a block's own, or ``align`` for the front block."""
    return sum(network.weight(key).size for key in network.bundle.manifest["blocks"][block]["parameters"])


def labels_of(sample: Sample) -> Labels:
    """Labels of a sample that has them."""
    assert sample.labels is not None
    return sample.labels


def is_finite(changed: Tensors) -> bool:
    """Whether every number is."""
    return all(bool(np.isfinite(value).all()) for value in changed.values())
