"""One adaptation on a device: which remedy a drift level calls for, and whether what it made is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tbft.device.evidence import examine, examine_aligned, head_keys, solve_head
from tbft.device.network import Network
from tbft.device.pictures import Sample
from tbft.device.sample_parts import for_statistics, split_sample
from tbft.device.tensors import Tensors
from tbft.device.training import AlignmentRecipe, BlockRecipe, Phase, align_front, score, train_block
from tbft.errors import BadInput

Level = Literal["auto", "input", "feature", "output"]
LEVELS: tuple[Level, ...] = ("auto", "input", "feature", "output")

LEAST_IMAGES = 2
"""Without which BatchNorm has no statistics and ridge regression no variance."""


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
        reason: why the base model stays, if it does.
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
    reason: str = "it is more accurate on the validation images"
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass
class Candidate:
    """What an input-level adaptation may keep.

    Attributes:
        name: its remedies, joined by ``+``.
        changed: weights that are not the base model's.
        blocks: that were tuned.
        trained: parameters that are others now.
        loss, accuracy: on the validation images, once they are known.
    """

    name: str
    changed: Tensors
    blocks: list[str] = field(default_factory=list)
    trained: int = 0
    loss: float = float("inf")
    accuracy: float | None = None


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


def adapt(base: Network, sample: Sample, course: Course) -> Adaptation:
    """Adapt the base model to a sample.

    Raises:
        BadInput: if there are too few pictures, or the level needs labels, or a graph that the bundle lacks.
    """
    if len(sample) < LEAST_IMAGES:
        raise BadInput(f"one picture is too few to adapt to: give at least {LEAST_IMAGES}")
    if sample.labels is None and course.level in ("feature", "output"):
        raise BadInput(f"the {course.level} level needs labels: give a folder for each class, or --level input")
    adapt_level = {"auto": _auto, "input": _input, "feature": _feature, "output": _output}[course.level]
    return adapt_level(base, sample, course)


def _auto(base: Network, sample: Sample, course: Course) -> Adaptation:
    """What ``tbft.remedies`` chooses of statistics and head, each on evidence from all labels.

    Where the statistics were refreshed, the front block is aligned and all is chosen again; that is kept if the
    evidence is no worse.
    """
    with course.phase("prepare"):
        examined = examine(base, sample)
    diagnosis, choice = examined.diagnosis, examined.diagnosis.choice
    made = Adaptation(detail={"diagnosis": diagnosis.as_dict()})
    if sample.labels is not None and diagnosis.accuracy is not None:
        made.base_validation = made.validation = diagnosis.accuracy.value
    if choice.verdict != "adapt":
        made.reason = choice.reason
        return made
    names = [name for name in choice.remedies if name != "keep"]
    if choice.statistics != "source":
        made.changed, made.statistics = dict(examined.refreshed), "refresh"
        if _may_align(base, made, course):
            with course.phase("train"):
                aligned, made.steps = _align(base.with_changes(examined.refreshed), sample, course)
                again, accepted, _ = examine_aligned(base.with_changes(aligned), sample, examined)
            if accepted and _is_finite(aligned):
                choice, made.changed = again, aligned
                names = ["refresh", "align", *(name for name in again.remedies if name not in ("keep", "refresh"))]
                made.blocks = [base.bundle.manifest["links"][0]]
                made.trained = sum(
                    base.weight(key).size for key in base.bundle.manifest["blocks"]["align"]["parameters"]
                )
    keys = head_keys(base.bundle)
    head = {keys["weight"]: choice.head.weight.astype(np.float32), keys["bias"]: choice.head.bias.astype(np.float32)}
    changed = {key: value for key, value in head.items() if not np.array_equal(value, base.weight(key))}
    made.trained += sum(value.size for value in changed.values())
    made.blocks += ["fc"] if changed else []
    made.changed |= changed
    made.strategy = "+".join(names)
    if sample.labels is not None and choice.accuracy is not None:
        made.validation = choice.accuracy.value
    return made


def _align(refreshed: Network, sample: Sample, course: Course) -> tuple[Tensors, int]:
    """The front block aligned and the statistics that fit it, by state-dict key; how many steps ran."""
    front, steps = align_front(refreshed, sample.pixels, course.alignment, seed=course.seed, deadline=course.deadline)
    return {**front, **refreshed.with_changes(front).statistics(for_statistics(refreshed, sample, course.seed))}, steps


def _may_align(base: Network, made: Adaptation, course: Course) -> bool:
    """Whether there is a graph, time and memory to align the front block; the record says what is missing."""
    if not base.can_align:
        missing = "--memory-mib is too low for it" if base.bundle.has("align") else "the bundle has no source's moments"
        made.detail["not_aligned"] = missing
        return False
    return time.monotonic() < course.deadline


def _is_finite(changed: Tensors) -> bool:
    return all(bool(np.isfinite(value).all()) for value in changed.values())


def _input(base: Network, sample: Sample, course: Course) -> Adaptation:
    """Statistics refreshed, the front block aligned with the source, the head solved: what validation tells is best.

    Without labels all that needs none is kept.
    """
    train, validation = split_sample(base, sample, course.seed)
    made = _with_base_score(base, validation, course)
    if not base.can_refresh:
        raise BadInput("this model keeps no BatchNorm statistics: the input level has nothing to refresh")
    with course.phase("prepare"):
        changed = base.statistics(for_statistics(base, train, course.seed))
    candidates = [Candidate("refresh", changed)]
    if _may_align(base, made, course):
        with course.phase("train"):
            changed, made.steps = _align(base.with_changes(changed), train, course)
        block, keys = base.bundle.manifest["links"][0], base.bundle.manifest["blocks"]["align"]["parameters"]
        candidates.append(Candidate("refresh+align", changed, [block], sum(base.weight(key).size for key in keys)))
    candidates = [each for each in candidates if _is_finite(each.changed)]
    best = _best(base, candidates, validation, course)
    if best is not None and validation is not None and base.bundle.manifest["head"]:
        with course.phase("train"):
            head = solve_head(base.with_changes(best.changed), train)
        size = sum(value.size for value in head.values())
        solved = Candidate(f"{best.name}+head", {**best.changed, **head}, [*best.blocks, "fc"], best.trained + size)
        best = _best(base, [best, solved], validation, course)
    if best is not None and _no_worse(best.accuracy, made.base_validation):
        made.strategy, made.changed, made.statistics = best.name, best.changed, "refresh"
        made.blocks, made.trained, made.validation = best.blocks, best.trained, best.accuracy
    made.stopped = time.monotonic() > course.deadline
    return made


def _feature(base: Network, sample: Sample, course: Course) -> Adaptation:
    """The last stage trained behind its cached prefix, under refreshed statistics."""
    block = base.bundle.manifest["levels"]["feature"]
    if not base.bundle.has(f"step.{block}"):
        reason = base.bundle.manifest["left_out"].get(f"training {block}", "it was left out")
        raise BadInput(f"this bundle cannot train {block} ({reason}): use --level input or output")
    train, validation = split_sample(base, sample, course.seed)
    if validation is None:
        raise BadInput("the feature level needs labels of at least two pictures of a class")
    made = _with_base_score(base, validation, course)
    with course.phase("prepare"):
        refreshed = base.statistics(for_statistics(base, train, course.seed)) if base.can_refresh else {}
        network = base.with_changes(refreshed)
        cached = [(network.prefix(block, part.pixels), _labels(part)) for part in (train, validation)]
    trained = train_block(
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
    made.curve, made.epochs, made.steps, made.stopped = trained.curve, trained.epochs, trained.steps, trained.stopped
    if trained.changed and _no_worse(trained.accuracy, made.base_validation):
        made.changed = {**refreshed, **trained.changed}
        made.strategy, made.blocks, made.validation = "block", [block], trained.accuracy
        made.statistics = "refresh" if refreshed else "source"
        keys = base.bundle.manifest["blocks"][block]["parameters"]
        made.trained = sum(base.bundle.weights[key].size for key in keys)
    return made


def _output(base: Network, sample: Sample, course: Course) -> Adaptation:
    """The head solved from features that are computed once."""
    keys = head_keys(base.bundle)
    train, validation = split_sample(base, sample, course.seed)
    if validation is None:
        raise BadInput("the output level needs labels of at least two pictures of a class")
    made = Adaptation()
    with course.phase("train"):
        head = solve_head(base, train)
    with course.phase("validate"):
        features, logits = base.run(validation.pixels)
        made.base_validation = made.validation = score(logits, _labels(validation))[1]
        solved = score(features @ head[keys["weight"]].T + head[keys["bias"]], _labels(validation))[1]
    if _no_worse(solved, made.base_validation):
        made.changed, made.strategy, made.blocks, made.validation = head, "head", ["fc"], solved
        made.trained = sum(value.size for value in head.values())
    return made


def _best(base: Network, candidates: list[Candidate], validation: Sample | None, course: Course) -> Candidate | None:
    """The candidate with the least validation loss; without labels the last one."""
    if validation is None or not candidates:
        return candidates[-1] if candidates else None
    with course.phase("validate"):
        for candidate in candidates:
            if candidate.accuracy is None:
                logits = base.with_changes(candidate.changed).run(validation.pixels)[1]
                candidate.loss, candidate.accuracy = score(logits, _labels(validation))
    return min(candidates, key=lambda candidate: candidate.loss)


def _with_base_score(base: Network, validation: Sample | None, course: Course) -> Adaptation:
    if validation is None:
        return Adaptation()
    with course.phase("validate"):
        accuracy = score(base.run(validation.pixels)[1], _labels(validation))[1]
    return Adaptation(base_validation=accuracy, validation=accuracy)


def _labels(sample: Sample) -> Any:
    assert sample.labels is not None
    return sample.labels


def _no_worse(accuracy: float | None, base: float | None) -> bool:
    return accuracy is None or base is None or accuracy >= base
