"""Training by steps within a climb: one level's block, or the whole network, by its recipe."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import copy
from typing import Any

from tbft.adaptation.adaptation import Adaptation
from tbft.adaptation.climb_state import ClimbState
from tbft.adaptation.closed_form_head import ClosedFormHead
from tbft.adaptation.freezing import BlockFreeze
from tbft.adaptation.optimization import Optimization
from tbft.adaptation.stepping import train_in_loop
from tbft.options.recipe import callbacks_of, optimization_of, recipe_of
from tbft.remedies.race import Outcome, Trained

log = logging.getLogger(__name__)

_WHOLE = {"full": "strategy/tuned-full.yaml", "small": "strategy/tuned-full-small.yaml"}
"""Recipes that train the whole network."""


def train_in_loop_from(
    climb: ClimbState, level: Trained, epochs: int | None, *, show_progress: bool = False
) -> Outcome:
    """Train from the network's present weights in a plain loop. Afterwards the network has those of the best epoch.

    Args:
        climb: climb with network, images, meter and progress; its ``max_epochs`` limits the epochs of a recipe.
        level: drift level whose block is trained by its recipe. ``full`` trains the whole network by
            ``strategy/tuned-full.yaml``, ``small`` by ``strategy/tuned-full-small.yaml`` with the batch size of that
            recipe.
        epochs: largest number of epochs, which is also the length of the schedule; ``None`` takes the recipe's number.
        show_progress: whether a long epoch shows a progress bar.

    Returns:
        Validation score of the best epoch, and whether the recipe ran in its whole length.
    """
    trial, optimization = _trial_of(climb, level, epochs, BlockFreeze)
    train_in_loop(trial, optimization, show_progress=show_progress)
    return _take_over(climb, trial)


def train_step_by_step(climb: ClimbState, level: Trained, epochs: int | None, options: Mapping[str, Any]) -> Outcome:
    """Train as ``train_in_loop_from`` does, with the same weights as result, but with Lightning's Trainer.

    Args:
        climb: climb whose meter is an ``EnergyCallback``.
        level: level or network to train, as in ``train_in_loop_from``.
        epochs: largest number of epochs; ``None`` takes the recipe's number.
        options: options of the trainer.

    Returns:
        Validation score of the best epoch.
    """
    from tbft.callbacks import BlockFreezeCallback
    from tbft.module import ImageClassifier
    from tbft.training.quiet import quiet
    from tbft.training.steps import train_by_steps

    trial, optimization = _trial_of(climb, level, epochs, BlockFreezeCallback)
    trial.classifier = ImageClassifier.around(climb.classifier, optimization)
    log.info("training %s", ", ".join(trial.blocks))
    given = {**options, "callbacks": callbacks_of(options.get("callbacks"))}
    with quiet():
        train_by_steps(trial, {**given, "accelerator": climb.accelerator or "auto"})
    return _take_over(climb, trial)


class _Trial(Adaptation):
    """Training of one contender, booked to the climb's meter; the climb decides whether its weights are kept.

    Attributes:
        is_complete: whether it runs the recipe in its whole length.
    """

    is_complete = True

    @property
    def has_base(self) -> bool:
        """Always false: the climb itself compares the result with the weights before."""
        return False


def _trial_of(
    climb: ClimbState, level: Trained, epochs: int | None, freeze_kind: type[BlockFreeze]
) -> tuple[_Trial, Optimization]:
    of_all = _WHOLE.get(level)
    recipe = recipe_of(level, (), {}) if of_all is None else recipe_of("feature", of_all, {})
    aligned = climb.aligned and level == "input"
    freeze = freeze_kind(**{**recipe["freeze"], "align": "for_an_epoch" if aligned else "never"})
    freeze.aligned = aligned
    freeze.refreshed = climb.statistics == "refresh"
    data = copy(climb.data)  # a cache replaces the images in the copy
    if level == "small":
        data.batch_size = recipe["data"]["batch_size"]
    whole = min(int(bound) for bound in (recipe["trainer"]["max_epochs"], climb.max_epochs) if bound not in (None, -1))
    trial = _Trial(
        climb.classifier,
        data,
        freeze,
        ClosedFormHead(),
        copy(climb.cache),
        climb.meter,
        seed=climb.seed,
        max_epochs=whole if epochs is None else min(whole, epochs),
        accelerator=climb.accelerator,
    )
    trial.is_complete = trial.max_epochs == whole
    return trial, optimization_of(recipe["model"])


def _take_over(climb: ClimbState, trial: _Trial) -> Outcome:
    """Add the trial's epochs to the climb's progress, and return its outcome."""
    climb.progress.epochs += trial.progress.epochs
    climb.progress.steps += trial.progress.steps
    climb.progress.curve += trial.progress.curve
    assert trial.keep.best is not None
    return Outcome(trial.keep.best, trial.is_complete)
