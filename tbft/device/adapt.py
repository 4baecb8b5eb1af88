"""One adaptation on a device: which remedy a named drift level calls for, and whether what it made is kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tbft.device.adaptation import (
    NOT_TRAINED,
    Adaptation,
    Course,
    align,
    is_finite,
    labels_of,
    may_align,
    size_of,
    train_cached,
)
from tbft.device.evidence import head_keys, solve_head
from tbft.device.network import Network
from tbft.device.pictures import Sample
from tbft.device.sample_parts import for_statistics, split_sample
from tbft.device.tensors import Tensors
from tbft.device.training import score
from tbft.errors import BadInput
from tbft.remedies.validated import Score, reason_to_keep_base

LEAST_IMAGES = 2
"""Without which BatchNorm has no statistics and ridge regression no variance."""


@dataclass
class Candidate:
    """What an input-level adaptation may keep.

    Attributes:
        name: its remedies, joined by ``+``.
        changed: weights that are not the base model's.
        blocks: that were tuned.
        trained: parameters that are others now.
        validated: what it makes of the validation images, once that is known.
    """

    name: str
    changed: Tensors
    blocks: list[str] = field(default_factory=list)
    trained: int = 0
    validated: Score | None = None


def adapt(base: Network, sample: Sample, course: Course) -> Adaptation:
    """Adapt the base model to a sample.

    Raises:
        BadInput: if there are too few pictures, one of them cannot be read, or the level needs labels, or a graph that
            the bundle lacks.
    """
    if len(sample) < LEAST_IMAGES:
        raise BadInput(f"one picture is too few to adapt to: give at least {LEAST_IMAGES}")
    if sample.labels is None and course.level in ("feature", "output"):
        raise BadInput(f"the {course.level} level needs labels: give a folder for each class, or --level input")
    if course.level == "auto":
        from tbft.device.climb import climb  # and with it the diagnosis

        return climb(base, sample, course)
    with course.phase("prepare"):
        _ = sample.pixels  # all of them are needed, and reading them belongs to no later phase
    return {"input": _input, "feature": _feature, "output": _output}[course.level](base, sample, course)


def _input(base: Network, sample: Sample, course: Course) -> Adaptation:
    """Statistics refreshed, the front block aligned with the source, the head solved: what validation tells is best.

    Without labels all that needs none is kept.
    """
    train, validation = split_sample(sample, course.seed)
    made, before = _with_base_score(base, validation, course)
    if not base.can_refresh:
        raise BadInput("this model keeps no BatchNorm statistics: the input level has nothing to refresh")
    with course.phase("prepare"):
        changed = base.statistics(for_statistics(train, course.seed))
    candidates = [Candidate("refresh", changed)]
    if may_align(base, made, course):
        with course.phase("train"):
            front, made.steps = align(base.with_changes(changed), train, course)
            aligned = front | base.with_changes(front).statistics(for_statistics(train, course.seed))
        block = base.bundle.manifest["links"][0]
        candidates.append(Candidate("refresh+align", aligned, [block], size_of(base, "align")))
    candidates = [each for each in candidates if is_finite(each.changed)]
    best = _best(base, candidates, validation, course)
    if best is not None and validation is not None and base.bundle.manifest["head"]:
        with course.phase("train"):
            head = solve_head(base.with_changes(best.changed), train)
        size = sum(value.size for value in head.values())
        solved = Candidate(f"{best.name}+head", {**best.changed, **head}, [*best.blocks, "fc"], best.trained + size)
        best = _best(base, [best, solved], validation, course)
    made.reason = "the statistics are not finite" if best is None else _why_not(before, best.validated)
    if best is not None and made.reason is None:
        made.strategy, made.changed, made.statistics = best.name, best.changed, "refresh"
        made.blocks, made.trained = best.blocks, best.trained
        made.validation = best.validated.accuracy if best.validated else None
    made.stopped = time.monotonic() > course.deadline
    return made


def _feature(base: Network, sample: Sample, course: Course) -> Adaptation:
    """The last stage trained behind its cached prefix, under refreshed statistics."""
    block = base.bundle.manifest["levels"]["feature"]
    if not base.bundle.has(f"step.{block}"):
        reason = base.bundle.manifest["left_out"].get(f"training {block}", "it was left out")
        raise BadInput(f"this bundle cannot train {block} ({reason}): use --level input or output")
    train, validation = split_sample(sample, course.seed)
    if validation is None:
        raise BadInput("the feature level needs labels of at least two pictures of a class")
    made, before = _with_base_score(base, validation, course)
    with course.phase("prepare"):
        refreshed = base.statistics(for_statistics(train, course.seed)) if base.can_refresh else {}
    trained = train_cached(base.with_changes(refreshed), block, train, validation, course)
    made.curve, made.epochs, made.steps, made.stopped = trained.curve, trained.epochs, trained.steps, trained.stopped
    made.reason = _why_not(before, trained.best) if trained.best else NOT_TRAINED
    if trained.best is not None and made.reason is None:
        made.changed = {**refreshed, **trained.changed}
        made.strategy, made.blocks, made.validation = "block", [block], trained.best.accuracy
        made.statistics = "refresh" if refreshed else "source"
        made.trained = size_of(base, block)
    return made


def _output(base: Network, sample: Sample, course: Course) -> Adaptation:
    """The head solved from features that are computed once."""
    keys = head_keys(base.bundle)
    train, validation = split_sample(sample, course.seed)
    if validation is None:
        raise BadInput("the output level needs labels of at least two pictures of a class")
    with course.phase("train"):
        head = solve_head(base, train)
    with course.phase("validate"):
        features, logits = base.run(validation.pixels)
        before = score(logits, labels_of(validation))
        solved = score(features @ head[keys["weight"]].T + head[keys["bias"]], labels_of(validation))
    made = Adaptation(base_validation=before.accuracy, validation=before.accuracy, reason=_why_not(before, solved))
    if made.reason is None:
        made.changed, made.strategy, made.blocks, made.validation = head, "head", ["fc"], solved.accuracy
        made.trained = sum(value.size for value in head.values())
    return made


def _best(base: Network, candidates: list[Candidate], validation: Sample | None, course: Course) -> Candidate | None:
    """The candidate with the least validation loss; without labels the last one."""
    if validation is None or not candidates:
        return candidates[-1] if candidates else None
    with course.phase("validate"):
        for candidate in candidates:
            if candidate.validated is None:
                logits = base.with_changes(candidate.changed).run(validation.pixels)[1]
                candidate.validated = score(logits, labels_of(validation))
    return min(candidates, key=lambda candidate: candidate.validated.loss if candidate.validated else float("inf"))


def _with_base_score(base: Network, validation: Sample | None, course: Course) -> tuple[Adaptation, Score | None]:
    """An adaptation that has changed nothing yet, and what the base model makes of the validation images."""
    if validation is None:
        return Adaptation(), None
    with course.phase("validate"):
        before = score(base.run(validation.pixels)[1], labels_of(validation))
    return Adaptation(base_validation=before.accuracy, validation=before.accuracy), before


def _why_not(before: Score | None, after: Score | None) -> str | None:
    """Why the base model stays; ``None`` where it does not, as where nothing validates."""
    return None if before is None or after is None else reason_to_keep_base(before, after)
