"""Adaptation to a named drift level: the level's remedies, and the decision whether their result is kept."""

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
from tbft.device.evidence import head_keys, seen_as, solve_head
from tbft.device.network import Forward, Network
from tbft.device.pictures import Sample
from tbft.device.sample_parts import for_statistics, split_sample
from tbft.device.tensors import Tensors
from tbft.device.training import score
from tbft.errors import BadInput
from tbft.remedies import Sample as Seen
from tbft.remedies.validated import Score, reason_to_keep_base

LEAST_IMAGES = 2
"""Fewest pictures of an adaptation: one has neither BatchNorm statistics nor a variance for ridge regression."""


@dataclass
class Candidate:
    """Changed weights that an adaptation to a named level may keep.

    Attributes:
        name: names of its remedies, joined by ``+``; ``none`` for the base model.
        changed: weights that differ from the base model's, by state-dict key.
        blocks: names of the tuned blocks.
        trained: number of parameters that changed.
        validated: score on the validation images, once that is known.
        seen: features and logits of the validation images, where they were looked at.
    """

    name: str
    changed: Tensors
    blocks: list[str] = field(default_factory=list)
    trained: int = 0
    validated: Score | None = None
    seen: Seen | None = None

    @property
    def loss(self) -> float:
        """Loss on the validation images; infinite before it is known."""
        return self.validated.loss if self.validated else float("inf")


def adapt(base: Network, sample: Sample, course: Course) -> Adaptation:
    """Adapt the base model to a sample, at the drift level that the course names.

    Args:
        base: the base model.
        sample: pictures of the device.
        course: how the adaptation runs.

    Raises:
        BadInput: if there are too few pictures, or the level needs labels or a graph that are missing.
        BrokenPictures: if pictures cannot be read.
    """
    if len(sample) < LEAST_IMAGES:
        raise BadInput(f"one picture is too few to adapt to: give at least {LEAST_IMAGES}")
    if sample.labels is None and course.level in ("feature", "output"):
        raise BadInput(f"the {course.level} level needs labels: give a folder for each class, or --level input")
    if course.level == "auto":
        from tbft.device.climb import climb  # and with it the diagnosis

        return climb(base, sample, course)
    return {"input": _input, "feature": _feature, "output": _output}[course.level](base, sample, course)


def _input(base: Network, sample: Sample, course: Course) -> Adaptation:
    """Refresh statistics, align the front block with the source and solve the head; keep what validates best.

    Without labels, keep the refreshed statistics and the aligned block.
    """
    train, validation = split_sample(sample, course.seed)
    made, before = _with_base_score(base, validation, course)
    if not base.can_refresh:
        raise BadInput("this model keeps no BatchNorm statistics: the input level has nothing to refresh")
    with course.phase("prepare"):
        pictures = for_statistics(train, course.seed)
        changed = base.statistics(pictures.pixels)
    candidates = [Candidate("refresh", changed)]
    if may_align(base, made, course):
        with course.phase("train"):
            front, made.steps = align(base.with_changes(changed), pictures, course)
            aligned = front | base.with_changes(front).statistics(pictures.pixels)
        block = base.bundle.manifest["links"][0]
        candidates.append(Candidate("refresh+align", aligned, [block], size_of(base, "align")))
    candidates = [each for each in candidates if is_finite(each.changed)]
    best = _best(base, candidates, validation, course)
    if best is not None and validation is not None and base.bundle.manifest["head"]:
        solved = _with_solved_head(base.with_changes(best.changed).forward(), base, best, train, validation, course)
        best = min(best, solved, key=lambda each: each.loss)
    made.reason = "the statistics are not finite" if best is None else _why_not(before, best.validated)
    if best is not None and made.reason is None:
        made.strategy, made.changed, made.statistics = best.name, best.changed, "refresh"
        made.blocks, made.trained = best.blocks, best.trained
        made.validation = best.validated.accuracy if best.validated else None
    made.stopped = time.monotonic() > course.deadline
    return made


def _feature(base: Network, sample: Sample, course: Course) -> Adaptation:
    """Train the last stage behind its cached prefix, under refreshed statistics."""
    block = base.bundle.manifest["levels"]["feature"]
    if not base.bundle.has(f"step.{block}"):
        reason = base.bundle.manifest["left_out"].get(f"training {block}", "it was left out")
        raise BadInput(f"this bundle cannot train {block} ({reason}): use --level input or output")
    train, validation = split_sample(sample, course.seed)
    if validation is None:
        raise BadInput("the feature level needs labels of at least two pictures of a class")
    made, before = _with_base_score(base, validation, course)
    with course.phase("prepare"):
        refreshed = base.statistics(for_statistics(train, course.seed).pixels) if base.can_refresh else {}
    trained = train_cached(base.with_changes(refreshed), block, train, validation, course)
    made.curve, made.epochs, made.steps, made.stopped = trained.curve, trained.epochs, trained.steps, trained.stopped
    changes = bool(trained.best and (refreshed or trained.steps))
    made.reason = _why_not(before, trained.best) if changes else NOT_TRAINED
    if trained.best is not None and made.reason is None:
        made.changed, made.validation = dict(refreshed), trained.best.accuracy
        made.strategy, made.statistics = "refresh", "refresh" if refreshed else "source"
        if trained.steps:
            made.changed |= trained.changed
            made.strategy, made.blocks, made.trained = "block", [block], size_of(base, block)
    return made


def _output(base: Network, sample: Sample, course: Course) -> Adaptation:
    """Solve the head or rename its classes, from features of as few pictures as that needs."""
    head_keys(base.bundle)  # refuses a head that cannot be solved before anything is computed
    train, validation = split_sample(sample, course.seed)
    if validation is None:
        raise BadInput("the output level needs labels of at least two pictures of a class")
    unchanged, forward = Candidate("none", {}), base.forward()
    _validate(unchanged, forward, validation, course)
    solved = _with_solved_head(forward, base, unchanged, train, validation, course)
    before, after = unchanged.validated, solved.validated
    assert before is not None and after is not None
    made = Adaptation(base_validation=before.accuracy, validation=before.accuracy, reason=_why_not(before, after))
    if made.reason is None:
        made.changed, made.strategy, made.blocks = solved.changed, solved.name, solved.blocks
        made.validation, made.trained = after.accuracy, solved.trained
    return made


def _with_solved_head(
    forward: Forward, base: Network, start: Candidate, train: Sample, validation: Sample, course: Course
) -> Candidate:
    """Solve the head of a candidate.

    Args:
        forward: opened forward pass of the candidate.
        base: the base model.
        start: the candidate, validated.
        train: pictures with labels to solve from.
        validation: pictures with labels that decide how many are needed.
        course: how the adaptation runs.

    Returns:
        A validated candidate with the new head, or ``start`` itself where its own head explains the labels best.
    """
    assert start.seen is not None
    with course.phase("train"):
        solved = solve_head(forward, base.with_changes(start.changed), train, start.seen, course.seed)
    if solved.remedies == ("keep",):
        return start
    names = [name for name in (start.name, *solved.remedies) if name != "none"]
    changed, size = {**start.changed, **solved.weights}, sum(value.size for value in solved.weights.values())
    made = Candidate("+".join(names), changed, [*start.blocks, "fc"], start.trained + size)
    made.validated = score(solved.logits, labels_of(validation))
    return made


def _best(base: Network, candidates: list[Candidate], validation: Sample | None, course: Course) -> Candidate | None:
    """Return the candidate with the least validation loss, or the last one without labels."""
    if validation is None or not candidates:
        return candidates[-1] if candidates else None
    for candidate in candidates:
        _validate(candidate, base.with_changes(candidate.changed).forward(), validation, course)
    return min(candidates, key=lambda each: each.loss)


def _validate(candidate: Candidate, forward: Forward, validation: Sample, course: Course) -> None:
    """Score a candidate on the validation pictures, by its opened forward pass."""
    with course.phase("validate"):
        candidate.seen = seen_as(*forward(validation.pixels), validation)
        candidate.validated = score(candidate.seen.logits, labels_of(validation))


def _with_base_score(base: Network, validation: Sample | None, course: Course) -> tuple[Adaptation, Score | None]:
    """Return an adaptation that has changed nothing yet, and the base model's score on the validation images."""
    if validation is None:
        return Adaptation(), None
    with course.phase("validate"):
        before = score(base.run(validation.pixels)[1], labels_of(validation))
    return Adaptation(base_validation=before.accuracy, validation=before.accuracy), before


def _why_not(before: Score | None, after: Score | None) -> str | None:
    """Return why the base model stays; ``None`` if it does not, or if there are no validation images."""
    return None if before is None or after is None else reason_to_keep_base(before, after)
