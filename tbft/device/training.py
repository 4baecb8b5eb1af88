"""Training on a device: a block behind its cached prefix, and the alignment of the front block with the source."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tbft.device.memory import LEAST_BATCH
from tbft.device.network import Floats, Network, Pixels
from tbft.device.schedules import cosine, one_cycle
from tbft.device.tensors import Tensors
from tbft.progress import with_bar
from tbft.remedies.aligned import IMAGES_IN_A_STEP, RATE, STEPS
from tbft.remedies.sample import correct, log_softmax
from tbft.remedies.validated import Score

Labels = NDArray[np.int64]
Phase = Callable[[str], AbstractContextManager[None]]

MOMENTS = ("moment1", "moment2")

_LEAST_TRAINED = 8
"""Fewest images in a step, as in the recipe for few images."""


@dataclass(frozen=True)
class BlockRecipe:
    """Recipe for training a block by AdamW with a cosine schedule (as ``configs/feature.yaml``).

    Attributes:
        epochs: number of passes over the training images.
        rate: learning rate at the start.
        batch: images in a step; ``None`` is a power of two near a 32nd of the images, from 8 to 64.
    """

    epochs: int = 4
    rate: float = 1.5e-3
    batch: int | None = None

    def batch_of(self, images: int) -> int:
        """Return the number of images in a step, where so many images train."""
        return self.batch or int(np.clip(2 ** round(np.log2(max(images, 1) / 32)), 8, 64))


@dataclass(frozen=True)
class AlignmentRecipe:
    """Recipe for aligning the front block by AdamW with a one-cycle schedule, as in ``tbft.adaptation.align``.

    Attributes:
        steps: number of optimiser steps.
        batch: images in a step.
        rate: learning rate at the peak.
    """

    steps: int = STEPS
    batch: int = IMAGES_IN_A_STEP
    rate: float = RATE


@dataclass
class Trained:
    """Result of training a block.

    Attributes:
        changed: weights of the best epoch by state-dict key; empty if no epoch had a finite loss.
        best: score of the best epoch on the validation images; ``None`` if no epoch had a finite loss.
        curve: validations, oldest first, in the form of a record's ``curve``.
        epochs, steps: numbers of whole epochs and of steps that ran.
        stopped: whether the time budget ended training.
    """

    changed: Tensors = field(default_factory=dict)
    best: Score | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    epochs: int = 0
    steps: int = 0
    stopped: bool = False


def train_block(
    network: Network,
    block: str,
    train: tuple[Floats, Labels],
    validation: tuple[Floats, Labels],
    recipe: BlockRecipe,
    *,
    seed: int,
    deadline: float,
    phase: Phase,
    spent: Callable[[], dict[str, float]],
) -> Trained:
    """Train a block on what enters it, and keep the epoch with the lowest validation loss.

    The last batch of an epoch is filled up with images from its beginning, so that BatchNorm never sees a small one.

    Args:
        network: the network to train, its statistics refreshed.
        block: name of the block to train.
        train: features that enter the block ``(N, ...)`` and labels ``(N,)`` of the training images.
        validation: features and labels of the validation images.
        recipe: epochs, learning rate and batch size.
        seed: seed of the order of the images.
        deadline: moment of ``time.monotonic`` at which training stops.
        phase: function that enters a phase of the energy meter.
        spent: function that returns the joules and seconds so far, for the curve.
    """
    keys = network.bundle.manifest["blocks"][block]
    names = {"parameters": keys["parameters"], "statistics": keys["statistics"]}
    vectors = {name: network.vector(of) for name, of in names.items()}
    vectors = {name: value for name, value in vectors.items() if len(value) or name == "parameters"}
    moments = {name: np.zeros_like(vectors["parameters"]) for name in MOMENTS}
    step, evaluate = network.open(f"step.{block}", repeated=True), network.open(f"evaluate.{block}")
    images, (features, labels) = len(train[1]), train
    size = min(recipe.batch_of(images), network.batch_of(f"step.{block}", least=_LEAST_TRAINED))
    rates = cosine(recipe.rate, recipe.epochs * -(-images // size))
    rng = np.random.default_rng(seed)
    found = Trained()
    for _ in with_bar(range(recipe.epochs), recipe.epochs, f"training {block}"):
        with phase("train"):
            for chosen in _batches(rng.permutation(images), size):
                if time.monotonic() > deadline:
                    found.stopped = True
                    break
                made = step(
                    **vectors,
                    **moments,
                    features=np.ascontiguousarray(features[chosen]),
                    labels=labels[chosen],
                    rate=np.array(rates[found.steps]),
                    step=np.array(found.steps + 1.0),
                )
                network.limit.release(features)
                vectors = {name: made[f"new_{name}"] for name in vectors}
                moments = {name: made[f"new_{name}"] for name in moments}
                found.steps += 1
        with phase("validate"):
            pieces = network.limit.pieces(validation[0], network.piece_of(f"evaluate.{block}"))
            logits = np.concatenate([evaluate(**vectors, features=np.asarray(piece))["logits"] for piece in pieces])
            now = score(logits, validation[1])
        found.epochs += not found.stopped
        entry = {"epoch": found.epochs, "step": found.steps}
        found.curve.append({**entry, "validation_loss": now.loss, "validation_accuracy": now.accuracy, **spent()})
        if np.isfinite(now.loss) and (found.best is None or now.loss < found.best.loss):
            found.best, found.changed = now, {}
            for name, vector in vectors.items():
                found.changed |= network.pieces(vector, names[name])
        if found.stopped:
            break
    return found


def align_front(
    network: Network, pixels: Pixels, recipe: AlignmentRecipe, *, seed: int, deadline: float
) -> tuple[Tensors, int]:
    """Train the front block so that its output has the source's moments again, without labels.

    Returns:
        The front block's new parameters by state-dict key, and the number of steps that ran. The caller still has to
        estimate the BatchNorm statistics that fit them.
    """
    keys = network.bundle.manifest["blocks"]["align"]["parameters"]
    source = network.bundle.source
    targets = {"source_mean": source["moments.mean"], "source_covariance": source["moments.covariance"]}
    step = network.open("align", repeated=True)
    vectors = {"parameters": network.vector(keys)}
    vectors |= {name: np.zeros_like(vectors["parameters"]) for name in MOMENTS}
    rng, size = np.random.default_rng(seed), min(recipe.batch, len(pixels))
    size = min(size, network.batch_of("align", least=min(LEAST_BATCH, size)))
    order = np.concatenate([rng.permutation(len(pixels)) for _ in range(-(-recipe.steps * size // len(pixels)))])
    done = 0
    for number, rate in enumerate(with_bar(one_cycle(recipe.rate, recipe.steps), recipe.steps, "aligning"), 1):
        if time.monotonic() > deadline:
            break
        chosen = order[done * size : (done + 1) * size]
        made = step(**vectors, **targets, pixels=pixels[chosen], rate=np.array(rate), step=np.array(float(number)))
        network.limit.release(pixels)
        vectors = {name: made[f"new_{name}"] for name in vectors}
        done = number
    return network.pieces(vectors["parameters"], keys), done


def score(logits: NDArray[np.floating], labels: Labels) -> Score:
    """Score logits ``(N, C)``: mean cross-entropy, and which images are classified right."""
    exact = logits.astype(np.float64)
    loss = -float(log_softmax(exact)[np.arange(len(labels)), labels].mean())
    return Score(loss, correct(exact, labels))


def _batches(order: Labels, size: int) -> Iterator[Labels]:
    for start in range(0, len(order), size):
        yield np.take(order, range(start, start + size), mode="wrap")
