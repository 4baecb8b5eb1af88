"""Adaptation without a named drift level: the cheapest remedies first, each on evidence."""

from __future__ import annotations

import time

import numpy as np

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
from tbft.device.evidence import card_of, head_keys, observe, seen_as, tensors_of
from tbft.device.network import Network
from tbft.device.pictures import Sample
from tbft.device.sample_parts import Positions, for_statistics, split_positions
from tbft.device.tensors import Tensors
from tbft.device.training import score
from tbft.diagnosis.looking import look_until_decided
from tbft.remedies import REFRESHED, SOURCE, Choice, Head, choose
from tbft.remedies import Sample as Seen
from tbft.remedies.aligned import judge_aligned
from tbft.remedies.parts import heads_of_part
from tbft.remedies.race import LEAST_VALIDATION, contenders_for, is_worth_training
from tbft.remedies.refresh import STATISTICS_IMAGES
from tbft.remedies.validated import reason_to_keep_base


def climb(base: Network, sample: Sample, course: Course) -> Adaptation:
    """Adapt without a named drift level: the sample decides what is adapted.

    Two forward passes show which remedies without gradients help. They take a first part of the pictures, and all of
    them only where the rest could change the decision. If the statistics are refreshed, the front block is aligned. If
    accuracy then stays far below the source's, the last stage is trained where the bundle can train it, and kept only
    on evidence from the validation pictures.

    Raises:
        BadInput: if the head is not one linear layer.
        BrokenPictures: if pictures that are looked at cannot be read.
    """
    return _Climb(base, sample, course).run()


class _Climb:
    """State of a climb.

    Attributes:
        changed: statistics and front block that differ from the base model's, by state-dict key.
        names: names of the remedies that are chosen so far.
        look: result of looking at the sample; set by ``run``.
        made: the adaptation's result so far.
        train, validation: positions of the pictures that may train and of those that validate.
        order: ``train`` in random order; its first part is looked at, aligned to, and used for statistics.
    """

    def __init__(self, base: Network, sample: Sample, course: Course) -> None:
        self.base, self.sample, self.course = base, sample, course
        self.card = card_of(base.bundle)
        self.block: str = base.bundle.manifest["levels"]["feature"]
        self.train, self.validation = split_positions(sample, course.seed)
        self.order = np.random.default_rng(course.seed).permutation(self.train)
        self.made = Adaptation()
        self.changed: Tensors = {}
        self.names: list[str] = []

    def run(self) -> Adaptation:
        """Run all steps and return the result."""
        course, made = self.course, self.made
        with course.phase("prepare"):
            self.look = look_until_decided(
                lambda positions: observe(self.base, self._pictures(positions)),
                len(self.sample),
                self.order,
                self.card,
                classes=len(self.base.bundle.classes),
                train=len(self.train) if self._validates and self._cannot_train is None else 0,
            )
        found, samples = self.look.diagnosis, self.look.observation.samples
        choice, made.detail["diagnosis"] = found.choice, found.as_dict()
        self.names = [name for name in choice.remedies if name != "keep"]
        if choice.statistics == REFRESHED:
            self.changed = dict(self.look.observation.refreshed)
            aligned = self._align(choice) if may_align(self.base, made, course) else None
            choice, samples = aligned or (choice, samples)
        if self.sample.labels is not None and found.accuracy is not None:
            made.base_validation = found.accuracy.value
            made.validation = choice.accuracy.value if choice.accuracy else found.accuracy.value
        head = tensors_of(choice.head, self.base.bundle)
        if self._is_worth_training(choice):
            trained = self._train(choice, samples)
            if not trained and len(self.look.positions) < len(self.sample) and self._has_time:
                head = tensors_of(self._choose_from_all(choice), self.base.bundle)
            head |= trained
        self._settle(choice, head)
        return made

    def _align(self, choice: Choice) -> tuple[Choice, dict[str, Seen]] | None:
        """Align the front block, and choose again with its features.

        Returns:
            The new choice and the samples it was made on; ``None`` if the evidence is worse, or a weight not finite.
        """
        seen, where = self.look.observation, self._for_statistics()
        with self.course.phase("train"):
            pictures = self._pictures(where)
            front, self.made.steps = align(self.base.with_changes(self.changed), pictures, self.course)
            network = self.base.with_changes(front)
            statistics, features, logits = network.refreshed(pictures.pixels)
            changed = front | statistics
            if not is_finite(changed):
                return None
            looked = np.asarray(self.look.positions)
            part = self._pictures(looked)
            if np.isin(looked, where).all():
                rows = np.searchsorted(where, looked)
                sample = seen_as(features[rows], logits[rows], part)
            else:
                sample = seen_as(*network.with_changes(changed).run(part.pixels), part)
            samples = {SOURCE: seen.samples[SOURCE], REFRESHED: sample}
            aligned = choose(samples, seen.head, self.card, forward=seen.forward)
            accepted, _ = judge_aligned(choice, aligned, seen.samples[SOURCE])
        if not accepted:
            return None
        self.changed = changed
        self.names = ["refresh", "align", *(name for name in aligned.remedies if name not in ("keep", "refresh"))]
        self.made.blocks = [self.base.bundle.manifest["links"][0]]
        self.made.trained = size_of(self.base, "align")
        return aligned, samples

    @property
    def _validates(self) -> bool:
        return self.sample.labels is not None and len(self.validation) >= LEAST_VALIDATION

    @property
    def _cannot_train(self) -> str | None:
        """Why the bundle cannot train the last stage; ``None`` if it can."""
        if self.base.bundle.has(f"step.{self.block}"):
            return None
        return str(self.base.bundle.manifest["left_out"].get(f"training {self.block}", "it was left out"))

    def _is_worth_training(self, choice: Choice) -> bool:
        """Return whether the last stage is to be trained; note in the record what the bundle cannot train."""
        found = self.look.diagnosis
        if not self._validates or not choice.drifted or choice.verdict == "cannot tell" or found.has_wrong_labels:
            return False
        if choice.left is None or not is_worth_training(choice.left, self.card, len(self.train)):
            return False
        contenders = contenders_for(found.levels, choice.left, self.card, choice.statistics)
        reasons = {
            "input": "a bundle aligns the front block and does not train it on labels",
            "feature": self._cannot_train,
            "full": "a bundle trains one block at most",
        }
        if missing := {name: reason for name in contenders if (reason := reasons.get(name))}:
            self.made.detail["not_trained"] = missing
        if "feature" not in contenders or self._cannot_train is not None:
            return False
        return self._has_time

    @property
    def _has_time(self) -> bool:
        return time.monotonic() < self.course.deadline

    def _train(self, choice: Choice, samples: dict[str, Seen]) -> Tensors:
        """Train the last stage.

        Returns:
            Weights to use in place of the chosen ones, by state-dict key; empty if validation does not favour them.
        """
        base, course, made = self.base, self.course, self.made
        train, validation = self._pictures(self.train), self._pictures(self.validation)
        known = np.flatnonzero(np.isin(self.look.positions, self.train)).tolist()
        head, unsolved = (tensors_of(each, base.bundle) for each in heads_of_part(choice, samples, known, self.card))
        with course.phase("validate"):
            labels = labels_of(validation)
            before = score(base.run(validation.pixels)[1], labels)
            standing = score(base.with_changes({**self.changed, **head}).run(validation.pixels)[1], labels)
        with course.phase("prepare"):
            changed = self.changed
            if not changed and base.can_refresh:
                changed = base.statistics(for_statistics(train, course.seed).pixels)
        trained = train_cached(base.with_changes({**changed, **unsolved}), self.block, train, validation, course)
        made.curve, made.epochs, made.stopped = trained.curve, trained.epochs, trained.stopped
        made.steps += trained.steps
        reason = reason_to_keep_base(standing, trained.best) if trained.best else NOT_TRAINED
        if trained.best is None or reason is not None:
            made.detail["not_kept"] = {self.block: (reason or "").replace("with the base", "before training")}
            return {}
        self.changed = changed
        refresh = ["refresh"] if changed and "refresh" not in self.names else []
        self.names = [*refresh, *(name for name in self.names if name != "head"), "block"]
        made.blocks = [*made.blocks, self.block]
        made.trained += size_of(base, self.block)
        made.base_validation, made.validation = before.accuracy, trained.best.accuracy
        return {**unsolved, **trained.changed}

    def _choose_from_all(self, choice: Choice) -> Head:
        """The head chosen again, from all pictures, behind the statistics and the front block that stand."""
        first = self.look.observation.head
        with self.course.phase("prepare"):
            sample = seen_as(*self.base.with_changes(self.changed).run(self.sample.pixels), self.sample)
            again = choose({SOURCE: sample}, first, self.card, forward=self.look.observation.forward)
        if again.verdict != "adapt":
            return choice.head
        stand = [name for name in self.names if name in ("refresh", "align")]
        self.names = [*stand, *(name for name in again.remedies if name != "keep")]
        if again.accuracy is not None:
            self.made.validation = again.accuracy.value
        return again.head

    def _settle(self, choice: Choice, weights: Tensors) -> None:
        """Write into the result what is kept, and whether the time budget ended the climb."""
        made, keys = self.made, head_keys(self.base.bundle).values()
        weights = {key: value for key, value in weights.items() if not np.array_equal(value, self.base.weight(key))}
        head = [weights[key].size for key in keys if key in weights]
        made.blocks += ["fc"] if head else []
        made.trained += sum(head)
        made.changed = {**self.changed, **weights}
        made.stopped = made.stopped or time.monotonic() > self.course.deadline
        if made.changed:
            made.strategy = "+".join(self.names)
            made.statistics = "refresh" if self.changed else "source"
        else:
            made.reason = choice.reason

    def _pictures(self, positions: Positions) -> Sample:
        return self.sample if len(positions) == len(self.sample) else self.sample.take(positions)

    def _for_statistics(self) -> Positions:
        """Return positions of the pictures for statistics and alignment, in ascending order.

        They include all pictures that were looked at, where these are a part of the sample.
        """
        if len(self.look.positions) < len(self.sample):
            return np.sort(self.order[: max(STATISTICS_IMAGES, len(self.look.positions))])
        everything = np.arange(len(self.sample))
        return np.sort(np.random.default_rng(self.course.seed).permutation(everything)[:STATISTICS_IMAGES])
