"""An adaptation that nobody names the drift for: the remedies are climbed from the cheapest up, on evidence."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch

from tbft.adaptation.adaptation import Adaptation, choose_device
from tbft.adaptation.align import align
from tbft.adaptation.keep_best import reason_to_keep_base
from tbft.adaptation.ladder import Ladder, check_nothing_is_named
from tbft.adaptation.observation import Observation, Samples, look, observe, put_head
from tbft.adaptation.score import Score
from tbft.adaptation.standing import (
    copy_weights,
    figures_of,
    first_images,
    part_of,
    plain_step,
    score_of,
)
from tbft.data.batches import Examples, joined
from tbft.diagnosis import Diagnosis, diagnose
from tbft.remedies import REFRESHED, SOURCE, Choice, SourceCard, choose
from tbft.remedies.aligned import candidate_chosen, judge_aligned
from tbft.remedies.combinations import candidates
from tbft.remedies.evidence import Interval, clopper_pearson
from tbft.schema import RunRecord

WORTH_TRAINING = 0.1
"""Accuracy below the source's from which on a block is trained by steps. Aligned statistics leave 0.06 to 0.11 on
CIFAR-10's corruptions, where full fine-tuning gains 1 to 2 points more on those above and nothing on the others."""

WORTH_ALL = 3.0
"""Errors for each of the source's from which on all is trained after a block. Digits are left with three to
five, and gain up to 3 points; CIFAR-10's corruptions with 1.6 and the sub-populations of Tiny-ImageNet with 2.5, where
training everything gains at most 1.6 points at four times a block's cost."""

Trained = Literal["input", "feature", "output", "full"]
"""A drift level, whose block is trained by its recipe, or the whole network."""


@dataclass
class Climb(Adaptation):
    """Adapts without a drift level: what is adapted follows from the sample.

    Two forward passes tell which remedies without gradients help (``tbft.remedies.choose``), from all labelled images
    and with each image judged by a fit that has not seen its label. At input level the front block is then aligned,
    and where much is still left below the source's accuracy, blocks are trained by steps, each kept only on evidence
    from the validation images.

    Args:
        ladder: how far to climb.
        train: trains one level's block, or all, from the weights that stand; gives the validation score of the best
            epoch, whose weights the network then has. ``None`` trains nothing by steps.

    Attributes:
        diagnosis: what drifted, once it is known.
        trail: each remedy that was tried, for the record.

    Raises:
        BadInput: if a level, block or statistics policy is named all the same.
    """

    ladder: Ladder = field(default_factory=Ladder)
    train: Callable[[Climb, Trained], Score] | None = None
    diagnosis: Diagnosis | None = None
    trail: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_nothing_is_named(self.freeze, self.head)
        self.target = ()
        self._standing = SOURCE
        self._reached: Interval | None = None
        self._trained = False

    @property
    def trains_by_steps(self) -> bool:
        """Not decided before the sample is seen; ``train`` makes a trainer where one is needed."""
        return False

    @property
    def strategy(self) -> str:
        """In the record: nobody named one."""
        return "auto"

    @property
    def statistics(self) -> str:
        """What became of the BatchNorm statistics."""
        return "source" if self._standing == SOURCE else "refresh"

    @property
    def card(self) -> SourceCard:
        """The base model's source card, empty if it has none."""
        base = self.classifier.base
        return base.card if base and base.card else SourceCard()

    def run_without_steps(self) -> None:
        """Climb; the network ends with what is kept."""
        assert self.data.train is not None and self.data.val is not None
        with self._preparing():
            examples = joined(self.data.train, self.data.val)
            seen = observe(self.classifier, examples, labelled=self.data.labelled, seed=self.seed)
            self.diagnosis = diagnose(seen.samples, seen.head, self.card, forward=seen.forward)
            choice = self.diagnosis.choice
            self.trail += [plain_step(asdict(step)) for step in choice.steps]
            if choice.verdict == "adapt":
                self._take(choice, seen)
            samples = seen.samples
            if self._is_worth_aligning(choice):
                choice, samples = self._align(choice, seen, examples)
            self._score(choice, samples)
            self._reached = choice.accuracy
        if self._is_worth_training(choice):
            self._train_blocks(choice, samples)
        self._settle(choice)

    def add_to(self, record: RunRecord) -> None:
        """Say what drifted, each remedy that was tried, and what to do next."""
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
            "estimated_accuracy_after": None if found.labelled else figures_of(self._reached),
            "left": figures_of(self.card.left_above(self._reached) if self._reached else None),
        }

    def _take(self, choice: Choice, seen: Observation) -> None:
        """Put the chosen statistics and head into the network."""
        if choice.statistics == REFRESHED:
            self.classifier.model.load_state_dict(seen.refreshed, strict=False)
        put_head(self.classifier, choice.head)
        self._standing = choice.statistics

    def _is_worth_aligning(self, choice: Choice) -> bool:
        if self._standing != REFRESHED or self._has_reached_target(choice.accuracy):
            return False
        if self.card.moments is None:
            self._note(("refresh", "align"), False, "the base model has no source card with moments: measure one")
            return False
        return not self.meter.over_budget()

    def _align(self, choice: Choice, seen: Observation, examples: Examples) -> tuple[Choice, Samples]:
        """Align the front block, and choose again with its features; kept if the evidence is no worse."""
        assert self.card.moments is not None
        began, before = time.process_time(), copy_weights(self.classifier.model)
        aligned = choice
        samples = seen.samples
        accepted, reason = False, "training diverged"
        if align(self.classifier, examples, self.card.moments, self.seed):
            sample = look(self.classifier, examples, seen.head, labelled=self.data.labelled)
            samples = {SOURCE: seen.samples[SOURCE], REFRESHED: sample}
            aligned = choose(samples, seen.head, self.card, forward=seen.forward)
            accepted, reason = judge_aligned(choice, aligned, seen.samples[SOURCE])
        found = aligned if accepted else choice
        names = ("refresh", "align", *(name for name in aligned.remedies if name not in ("refresh", "keep")))
        self._note(names, accepted, reason, aligned.accuracy, cpu_seconds=time.process_time() - began)
        if not accepted:
            self.classifier.model.load_state_dict(before)
            return choice, seen.samples
        put_head(self.classifier, found.head)
        return found, samples

    def _score(self, choice: Choice, samples: Samples) -> None:
        """Book the base model's accuracy and that of what stands, on all labelled images."""
        labels = samples[SOURCE].labels
        if labels is None:
            return
        self.keep.base = score_of(samples[SOURCE].logits, labels)
        standing = candidate_chosen(choice)
        self.keep.best = score_of(standing.fit.logits, labels) if standing else self.keep.base

    def _is_worth_training(self, choice: Choice) -> bool:
        assert self.diagnosis is not None and self.data.val is not None
        if self.max_epochs == 0 or not (self.ladder.train and self.train and self.data.labelled and len(self.data.val)):
            return False
        if not choice.drifted or choice.verdict == "cannot tell":
            return False
        if self._has_reached_target(choice.accuracy) or self.meter.over_budget():
            return False
        return "feature" in self.diagnosis.levels or _is_much(choice.left)

    def _train_blocks(self, choice: Choice, samples: Samples) -> None:
        """Train the level's block, then the whole network, as long as much is left to gain."""
        assert self.diagnosis is not None and self.train is not None and self.keep.best is not None
        assert self.data.train is not None and self.data.val is not None
        chain, held_out = self.classifier.model, len(self.data.train)
        first: Trained = "input" if "feature" not in self.diagnosis.levels and self._standing != SOURCE else "feature"
        standing = part_of(self.keep.best, held_out, self._validation_loss(choice, samples, held_out))
        base = part_of(self.keep.base or self.keep.best, held_out)
        for level in (first, "full"):
            began, before = time.process_time(), copy_weights(chain)
            if not self._trained:
                self._forget_validation(choice, samples, held_out)
            score = self.train(self, level)
            self.classifier.place(choose_device(self.accelerator))
            reason = reason_to_keep_base(standing, score)
            accuracy = clopper_pearson(score.correct, len(score.right))
            told = f"{score.correct} of {len(score.right)} validation images are right, {standing.correct} before"
            if reason:
                told = reason.replace("with the base", "with what stood")
            self._note((level if level == "full" else f"{level} block",), reason is None, told, accuracy,
                       cpu_seconds=time.process_time() - began)  # fmt: skip
            if reason is None:
                standing, self._trained, self._standing = score, True, REFRESHED
                self.keep.best, self.keep.base, self._reached = score, base, accuracy
            else:
                chain.load_state_dict(before)
            reached = clopper_pearson(standing.correct, len(standing.right))
            left = self.card.left_above(reached)
            if self._has_reached_target(reached) or self.meter.over_budget():
                return
            if not (_is_much(left) and self._has_many_errors(reached)):
                return

    def _forget_validation(self, choice: Choice, samples: Samples, held_out: int) -> None:
        """Fit the head that training starts from again, without the labels that validate it."""
        if choice.verdict != "adapt":
            return
        part = {state: first_images(sample, held_out) for state, sample in samples.items()}
        fitted = {c.remedies: c for c in candidates(part, choice.tried[0].fit.whole.head, self.card)}
        put_head(self.classifier, fitted[choice.remedies].fit.whole.head)

    @staticmethod
    def _validation_loss(choice: Choice, samples: Samples, held_out: int) -> float:
        labels, standing = samples[SOURCE].labels, candidate_chosen(choice)
        assert labels is not None and standing is not None
        return -float(standing.scores(labels)[held_out:].mean())

    def _settle(self, choice: Choice) -> None:
        """Say what was kept, and which blocks that changed."""
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

    def _has_many_errors(self, accuracy: Interval) -> bool:
        source = self.card.accuracy
        return source is not None and 1 - accuracy.value >= WORTH_ALL * (1 - source)

    def _note(
        self,
        remedies: tuple[str, ...],
        accepted: bool,
        reason: str,
        accuracy: Interval | None = None,
        *,
        cpu_seconds: float | None = None,
    ) -> None:
        told: dict[str, Any] = {"remedies": list(remedies), "statistics": REFRESHED, "accepted": accepted}
        told |= {"accuracy": accuracy and asdict(accuracy), "gain": None, "p": None, "cost": None}
        self.trail.append({**told, "reason": reason, "detail": "", "cpu_seconds": cpu_seconds})


def _is_much(left: Interval | None) -> bool:
    return left is not None and left.low > 0 and left.value >= WORTH_TRAINING
