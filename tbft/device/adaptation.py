"""Types and steps that both ways of adapting share: to a named drift level (``adapt``), and without one (``climb``)."""

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
    """Result of an adaptation.

    Attributes:
        changed: weights that differ from the base model's, by state-dict key; empty if the base model stays.
        strategy: names of the kept remedies, joined by ``+``; ``none`` if the base model stays.
        blocks: names of the tuned blocks.
        statistics: BatchNorm statistics that are kept, ``source`` or ``refresh``.
        base_validation, validation: accuracy on the validation images, before and after; ``None`` without labels.
        curve: validations during training, oldest first; empty without training.
        epochs, steps: numbers of epochs and optimiser steps that ran.
        stopped: whether the time budget ended it.
        trained: number of parameters that changed.
        reason: why the base model stays; ``None`` if it does not.
        skipped: number of broken pictures that were left out.
        detail: further entries of the record.
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
    """Options and meter of an adaptation.

    Attributes:
        level: drift level; ``auto`` lets the sample decide.
        seed: seed of the validation split and of the order of training.
        deadline: moment of ``time.monotonic`` at which training stops.
        phase: function that enters a phase of the energy meter.
        spent: function that returns the joules and seconds so far.
        block: recipe for training the last stage.
        alignment: recipe for aligning the front block.
    """

    level: Level
    seed: int
    deadline: float
    phase: Phase
    spent: Callable[[], dict[str, float]]
    block: BlockRecipe = field(default_factory=BlockRecipe)
    alignment: AlignmentRecipe = field(default_factory=AlignmentRecipe)


def may_align(base: Network, made: Adaptation, course: Course) -> bool:
    """Return whether graph, time and memory allow aligning the front block; note in the record what is missing."""
    if not base.can_align:
        missing = "--memory-mib is too low for it" if base.bundle.has("align") else "the bundle has no source's moments"
        made.detail["not_aligned"] = missing
        return False
    return time.monotonic() < course.deadline


def align(refreshed: Network, pictures: Sample, course: Course) -> tuple[Tensors, int]:
    """Align the front block with the source.

    Returns:
        Its new parameters by state-dict key, and the number of steps that ran.
    """
    recipe = course.alignment
    return align_front(refreshed, pictures.pixels, recipe, seed=course.seed, deadline=course.deadline)


def train_cached(network: Network, block: str, train: Sample, validation: Sample, course: Course) -> Trained:
    """Train a block behind its prefix, which runs once.

    Args:
        network: the network with the statistics and the head that are chosen so far.
        block: name of the block to train.
        train: pictures with labels.
        validation: pictures with labels that choose the best epoch.
        course: how the adaptation runs.
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
    """Return the number of parameters that the bundle trains under a name: that of a block, or ``align``."""
    return sum(network.weight(key).size for key in network.bundle.manifest["blocks"][block]["parameters"])


def labels_of(sample: Sample) -> Labels:
    """Return the labels ``(N,)`` of a labelled sample."""
    assert sample.labels is not None
    return sample.labels


def is_finite(changed: Tensors) -> bool:
    """Return whether all weights are finite."""
    return all(bool(np.isfinite(value).all()) for value in changed.values())
