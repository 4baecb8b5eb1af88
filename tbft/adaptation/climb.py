"""An adaptation for an unnamed drift: climb the ladder of remedies from the cheapest up, on evidence."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from tbft.adaptation.adaptation import Adaptation
from tbft.adaptation.align import align
from tbft.adaptation.hindsight import check_can_test, score_in_hindsight
from tbft.adaptation.ladder import Ladder, check_nothing_is_named
from tbft.adaptation.looking import look_until_decided
from tbft.adaptation.observation import Observation, Samples, look_at, put_head, refresh_and_look
from tbft.adaptation.race import train_winner
from tbft.adaptation.score import Tally
from tbft.adaptation.standing import copy_weights, figures_of, recorded_steps, score_of
from tbft.data.batches import Examples, joined
from tbft.diagnosis import Diagnosis
from tbft.diagnosis.looking import Look
from tbft.remedies import REFRESHED, SOURCE, Choice, SourceCard, choose
from tbft.remedies.aligned import candidate_chosen, judge_aligned
from tbft.remedies.evidence import Interval
from tbft.remedies.race import (
    LEAST_VALIDATION,
    Outcome,
    Trained,
    contenders_for,
    is_cheap_to_train,
    is_worth_training,
)
from tbft.remedies.refresh import STATISTICS_IMAGES
from tbft.schema import RunRecord


@dataclass
class Climb(Adaptation):
    """Adapts without a drift level: the sample decides what is adapted.

    Two forward passes show which remedies without gradients help (``tbft.remedies.choose``). They run over a first part
    of the images, and over all images only where these could change the decision. Each image is judged by a fit that
    has not seen its label. At input level the front block is then aligned. Where accuracy is still far below the
    source's, a block or the whole network is trained by steps, whichever wins a short race. Its weights are kept only
    on evidence from the validation images; otherwise all images choose the head again. A network so small that training
    costs less than these choices is trained as a whole instead.

    Args:
        ladder: limits of the climb.
        train: function ``(climb, level, epochs)`` that trains the level's block, or the whole network, from the
            network's present weights, and loads the weights of the best epoch. Epochs ``None`` takes the recipe's
            number. ``None`` trains nothing by steps.

    Attributes:
        diagnosis: diagnosis of the sample; ``None`` until it was looked at.
        trail: remedies that were tried, in order, as entries of the record.
        aligned: whether the network has the aligned front block.
        standing: state of the network's BatchNorm statistics, ``SOURCE`` or ``REFRESHED``.
        reached: accuracy of the network as adapted so far, estimated on the sample.

    Raises:
        BadInput: if a level, block or statistics policy is named, which the ladder chooses itself, or hindsight is
            asked for without test images.
    """

    ladder: Ladder = field(default_factory=Ladder)
    train: Callable[[Climb, Trained, int | None], Outcome] | None = None
    diagnosis: Diagnosis | None = None
    trail: list[dict[str, Any]] = field(default_factory=list)
    aligned: bool = False

    def __post_init__(self) -> None:
        check_nothing_is_named(self.freeze, self.head)
        if self.ladder.hindsight:
            check_can_test(self.data)
        self.target = ()
        self.standing = SOURCE
        self.reached: Interval | None = None

    @property
    def trains_by_steps(self) -> bool:
        """Always false: training is decided once the sample is seen, and ``train`` then makes its own trainer."""
        return False

    @property
    def strategy(self) -> str:
        """Name of the strategy in the record."""
        return "auto"

    @property
    def statistics(self) -> str:
        """Policy of the BatchNorm statistics in the record: ``source`` or ``refresh``."""
        return "source" if self.standing == SOURCE else "refresh"

    @property
    def card(self) -> SourceCard:
        """The base model's source card, empty if it has none."""
        return self.classifier.card

    def run_without_steps(self) -> None:
        """Climb the ladder. Afterwards the network has the kept weights."""
        assert self.data.train is not None and self.data.val is not None
        with self.preparing():
            examples = joined(self.data.train, self.data.val)
            look = self._look(examples)
            self.diagnosis, seen, choice = look.diagnosis, look.observation, look.diagnosis.choice
            self.trail += recorded_steps(choice.steps, look.cpu_seconds)
            if choice.verdict == "adapt":
                self._take(choice, seen)
        small = self._is_cheap_to_train(choice, seen)
        if not (small and train_winner(self, choice, seen.samples, look.positions, ("small",))):
            self._climb_on(choice, look, examples, train=not small)
        self._settle(choice)

    def _climb_on(self, choice: Choice, look: Look[Observation], examples: Examples, *, train: bool) -> None:
        """Align the front block where it is worth it; then train by steps, if ``train``, where much is left to gain."""
        with self.meter.phase("prepare"):
            samples = look.observation.samples
            if self._is_worth_aligning(choice):
                choice, samples = self._align(choice, look, examples)
            self._score(choice, samples)
            self.reached = choice.accuracy
        if train and self._is_worth_training(choice):
            assert self.diagnosis is not None and choice.left is not None
            contenders = contenders_for(self.diagnosis.levels, choice.left, self.card, self.standing)
            trained = train_winner(self, choice, samples, look.positions, contenders)
            if not trained and len(look.positions) < len(examples) and not self.meter.over_budget():
                with self.meter.phase("prepare"):
                    self._choose_from_all(choice, look, examples)

    def test(self) -> Tally:
        """Score the kept model and the base model on the test images, and all combinations if hindsight is on.

        Returns:
            Losses and predictions of the kept model.
        """
        counted = super().test()
        if self.ladder.hindsight:
            score_in_hindsight(self, self.card, self.trail)
        return counted

    def add_to(self, record: RunRecord) -> None:
        """Add to the record the diagnosis with its advice, and each remedy that was tried."""
        record["remedies"] = self.trail
        found = self.diagnosis
        if found is None:
            return
        record["drift"]["diagnosed"] = list(found.levels)
        record["diagnosis"] = {
            "verdict": found.verdict,
            "reason": found.reason,
            "advice": list(found.advice),
            "images": found.images,
            "labelled": found.labelled,
            "estimated_accuracy": None if found.labelled else figures_of(found.accuracy),
            "estimated_accuracy_after": None if found.labelled else figures_of(self.reached),
            "left": figures_of(self.card.left_above(self.reached) if self.reached else None),
        }

    def _look(self, examples: Examples) -> Look[Observation]:
        held_out = len(self.data.val) if self.data.val is not None else 0
        return look_until_decided(
            self.classifier,
            examples,
            self.card,
            labelled=self.data.labelled,
            seed=self.seed,
            reserved=held_out,
            train=self._images_that_train,
        )

    @property
    def _images_that_train(self) -> int:
        """Number of images on which blocks may be trained by steps; 0 where training is not allowed."""
        assert self.data.train is not None
        allowed = self.max_epochs != 0 and self.ladder.train and self.train is not None
        held_out = len(self.data.val) if self.data.val is not None and self.data.labelled else 0
        return len(self.data.train) if allowed and held_out >= LEAST_VALIDATION else 0

    def _take(self, choice: Choice, seen: Observation) -> None:
        """Put the chosen statistics and head into the network."""
        if choice.statistics == REFRESHED:
            self.classifier.model.load_state_dict(seen.refreshed, strict=False)
        put_head(self.classifier, choice.head)
        self.standing = choice.statistics

    def _is_worth_aligning(self, choice: Choice) -> bool:
        if self.standing != REFRESHED or self._has_reached_target(choice.accuracy):
            return False
        if self.card.moments is None:
            self.note(("refresh", "align"), False, "the base model has no source card with moments: measure one")
            return False
        return not self.meter.over_budget()

    def _align(self, choice: Choice, look: Look[Observation], examples: Examples) -> tuple[Choice, Samples]:
        """Align the front block and choose again on its features.

        Returns:
            The new choice and samples if the aligned block is kept (``judge_aligned``); otherwise the old ones, with
            the network's weights restored.
        """
        assert self.card.moments is not None
        seen, part = look.observation, examples.subset(look.positions)
        began, before = time.process_time(), copy_weights(self.classifier.model)
        aligned = choice
        samples = seen.samples
        accepted, reason = False, "training diverged"
        if align(self.classifier, examples, self.card.moments, self.seed):
            sample = refresh_and_look(
                self.classifier, part, seen.head, labelled=self.data.labelled, seed=self.seed, images=STATISTICS_IMAGES
            )
            samples = {SOURCE: seen.samples[SOURCE], REFRESHED: sample}
            aligned = choose(samples, seen.head, self.card, forward=seen.forward)
            accepted, reason = judge_aligned(choice, aligned, seen.samples[SOURCE])
        found = aligned if accepted else choice
        names = ("refresh", "align", *(name for name in aligned.remedies if name not in ("refresh", "keep")))
        self.note(names, accepted, reason, aligned.accuracy, cpu_seconds=time.process_time() - began)
        if not accepted:
            self.classifier.model.load_state_dict(before)
            return choice, seen.samples
        self.aligned = True
        put_head(self.classifier, found.head)
        return found, samples

    def _choose_from_all(self, choice: Choice, look: Look[Observation], examples: Examples) -> None:
        """Choose the head again on all images, with the present statistics and front block.

        Only a first part of the images had chosen it, because training was to use the others.
        """
        began, seen = time.process_time(), look.observation
        sample = look_at(self.classifier, examples, seen.head, labelled=True)
        again = choose({SOURCE: sample}, seen.head, self.card, forward=seen.forward)
        found = candidate_chosen(again)
        accepted = again.verdict == "adapt" and not again.head.equals(choice.head)
        names = [*["refresh"] * (self.standing == REFRESHED), *["align"] * self.aligned]
        names += [name for name in again.remedies if name != "keep"]
        told = f"chosen again, from all {len(examples)} images"
        spent = time.process_time() - began
        self.note(tuple(names or ["keep"]), accepted, told, again.accuracy, cpu_seconds=spent, statistics=self.standing)
        if accepted and found is not None and sample.labels is not None:
            put_head(self.classifier, again.head)
            self.reached = again.accuracy
            part = look.positions  # on which the base model was scored
            self.keep.best = score_of(found.fit.logits[part], sample.labels[part])

    def _score(self, choice: Choice, samples: Samples) -> None:
        """Note the scores of the base model and of the chosen remedies on the labelled images that were looked at."""
        labels = samples[SOURCE].labels
        if labels is None:
            return
        self.keep.base = score_of(samples[SOURCE].logits, labels)
        standing = candidate_chosen(choice)
        self.keep.best = score_of(standing.fit.logits, labels) if standing else self.keep.base

    def _may_train_after(self, choice: Choice) -> bool:
        """Whether training by steps is allowed: the sample drifted, wrong labels are not the cause, budget is left."""
        assert self.diagnosis is not None
        if not self._images_that_train or not choice.drifted or choice.verdict == "cannot tell":
            return False
        if self.diagnosis.has_wrong_labels or self._has_reached_target(choice.accuracy):
            return False
        return not self.meter.over_budget()

    def _is_worth_training(self, choice: Choice) -> bool:
        return self._may_train_after(choice) and is_worth_training(choice.left, self.card, self._images_that_train)

    def _is_cheap_to_train(self, choice: Choice, seen: Observation) -> bool:
        if not self._may_train_after(choice):
            return False
        assert self.diagnosis is not None
        return is_cheap_to_train(self.diagnosis.levels, choice.left, self._images_that_train, seen.forward)

    def _settle(self, choice: Choice) -> None:
        """Note what was kept and why, and make the changed links the target."""
        chain, base = self.classifier.model, self.keep.base_weights
        changed = {
            key for key, value in chain.state_dict().items() if not torch.equal(value, base[key].to(value.device))
        }
        self.keep.kept = "adapted" if changed else "base"
        self.keep.reason = None if changed else choice.reason
        named = {id(parameter): name for name, parameter in chain.named_parameters()}
        for parameter in chain.parameters():
            parameter.requires_grad_(named[id(parameter)] in changed)
        self.target = tuple(
            link
            for link in chain.links
            if any(p.requires_grad for module in chain.modules_of((link,)) for p in module.parameters(recurse=False))
        )

    def _has_reached_target(self, accuracy: Interval | None) -> bool:
        target = self.ladder.target_accuracy
        return target is not None and accuracy is not None and accuracy.value >= target

    def note(
        self,
        remedies: tuple[str, ...],
        accepted: bool,
        reason: str,
        accuracy: Interval | None = None,
        *,
        cpu_seconds: float | None = None,
        statistics: str = REFRESHED,
    ) -> None:
        """Add a remedy that needs gradients, or a later choice of remedies without, to the trail.

        Args:
            remedies: names of the remedies in the order applied.
            accepted: whether they are kept.
            reason: why they are kept or refused.
            accuracy: accuracy with them.
            cpu_seconds: CPU-seconds that they took.
            statistics: state of the BatchNorm statistics with them.
        """
        told: dict[str, Any] = {"remedies": list(remedies), "statistics": statistics, "accepted": accepted}
        told |= {"accuracy": accuracy and asdict(accuracy), "gain": None, "p": None, "cost": None}
        self.trail.append({**told, "reason": reason, "detail": "", "cpu_seconds": cpu_seconds})
