"""An adaptation for an unnamed drift: climb the ladder of remedies from the cheapest up, on evidence."""

from __future__ import annotations

import time

from tbft.adaptation.align import align
from tbft.adaptation.climb_state import ClimbState
from tbft.adaptation.hindsight import score_in_hindsight
from tbft.adaptation.looking import look_until_decided
from tbft.adaptation.observation import Observation, Samples, look_at, put_head, refresh_and_look
from tbft.adaptation.race import train_winner
from tbft.adaptation.score import Tally
from tbft.adaptation.standing import copy_weights, recorded_steps, score_of
from tbft.data.batches import Examples, joined
from tbft.diagnosis.looking import Look
from tbft.remedies import REFRESHED, SOURCE, Choice, choose
from tbft.remedies.aligned import candidate_chosen, judge_aligned
from tbft.remedies.race import (
    contenders_for,
)
from tbft.remedies.refresh import STATISTICS_IMAGES


class Climb(ClimbState):
    """Adapts without a drift level: the sample decides what is adapted.

    Two forward passes show which remedies without gradients help (``tbft.remedies.choose``). They run over a first part
    of the images, and over all images only where these could change the decision. Each image is judged by a fit that
    has not seen its label. At input level the front block is then aligned. Where accuracy is still far below the
    source's, a block or the whole network is trained by steps, whichever wins a short race. Its weights are kept only
    on evidence from the validation images; otherwise all images choose the head again. A network so small that training
    costs less than these choices is trained as a whole instead.

    See ``ClimbState`` for arguments and attributes.
    """

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
        small = self.is_cheap_to_train(choice, seen.forward)
        if not (small and train_winner(self, choice, seen.samples, look.positions, ("small",))):
            self._climb_on(choice, look, examples, train=not small)
        self.settle(choice)

    def _climb_on(self, choice: Choice, look: Look[Observation], examples: Examples, *, train: bool) -> None:
        """Align the front block where it is worth it; then train by steps, if ``train``, where much is left to gain."""
        with self.meter.phase("prepare"):
            samples = look.observation.samples
            if self.is_worth_aligning(choice):
                choice, samples = self._align(choice, look, examples)
            self._score(choice, samples)
            self.reached = choice.accuracy
        if train and self.is_worth_training(choice):
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

    def _look(self, examples: Examples) -> Look[Observation]:
        held_out = len(self.data.val) if self.data.val is not None else 0
        return look_until_decided(
            self.classifier,
            examples,
            self.card,
            labelled=self.data.labelled,
            seed=self.seed,
            reserved=held_out,
            train=self.images_that_train,
        )

    def _take(self, choice: Choice, seen: Observation) -> None:
        """Put the chosen statistics and head into the network."""
        if choice.statistics == REFRESHED:
            self.classifier.model.load_state_dict(seen.refreshed, strict=False)
        put_head(self.classifier, choice.head)
        self.standing = choice.statistics

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
