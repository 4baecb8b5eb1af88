"""Training by steps on the way up the ladder: one level's block, or the whole network, by that level's recipe."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import copy
from typing import Any

from tbft.adaptation.adaptation import Adaptation
from tbft.adaptation.climb import Climb
from tbft.adaptation.closed_form_head import ClosedFormHead
from tbft.adaptation.freezing import BlockFreeze
from tbft.adaptation.optimization import Optimization
from tbft.adaptation.stepping import train_in_loop
from tbft.options.recipe import callbacks_of, optimization_of, recipe_of
from tbft.remedies.race import Trained
from tbft.remedies.validated import Score

log = logging.getLogger(__name__)

_WHOLE = {"full": "strategy/tuned-full.yaml", "small": "strategy/tuned-full-small.yaml"}
"""Recipe of the whole network."""


def train_in_loop_from(climb: Climb, level: Trained, epochs: int | None, *, show_progress: bool = False) -> Score:
    """Train from the weights that stand; the network then has those of the best epoch.

    Args:
        climb: whose network, images, meter and progress these are; its ``max_epochs`` is the most that a recipe may
            run.
        level: whose block and recipe; ``full`` trains all by the recipe of ``strategy/tuned-full.yaml``, ``small``
            by that of ``strategy/tuned-full-small.yaml``, in its batches and not in the data's.
        epochs: how many at most, schedule included; ``None`` leaves that to the recipe.
        show_progress: whether an epoch that takes long has a progress bar.
    """
    trial, optimization = _trial_of(climb, level, epochs, BlockFreeze)
    train_in_loop(trial, optimization, show_progress=show_progress)
    return _take_over(climb, trial)


def train_step_by_step(climb: Climb, level: Trained, epochs: int | None, options: Mapping[str, Any]) -> Score:
    """The same by Lightning's Trainer, and to the same weights.

    Args:
        climb: likewise; its meter is an ``EnergyCallback``.
        level: likewise.
        epochs: likewise.
        options: of the trainer.
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
    """One rung of the ladder, booked to the climb's own meter: what becomes of it is the climb's to judge."""

    @property
    def has_base(self) -> bool:
        """The climb compares with what stands."""
        return False


def _trial_of(
    climb: Climb, level: Trained, epochs: int | None, freeze_kind: type[BlockFreeze]
) -> tuple[_Trial, Optimization]:
    whole = _WHOLE.get(level)
    recipe = recipe_of(level, (), {}) if whole is None else recipe_of("feature", whole, {})
    aligned = climb.aligned and level == "input"
    spares = aligned and epochs is None  # contenders in a race all run as many
    freeze = freeze_kind(**{**recipe["freeze"], "align": "for_an_epoch" if spares else "never"})
    freeze.aligned = aligned
    freeze.refreshed = climb.statistics == "refresh"
    data = copy(climb.data)  # a cache takes the place of its images
    if level == "small":
        data.batch_size = recipe["data"]["batch_size"]
    bounds = [epochs, recipe["trainer"]["max_epochs"], climb.max_epochs]
    trial = _Trial(
        climb.classifier,
        data,
        freeze,
        ClosedFormHead(),
        copy(climb.cache),
        climb.meter,
        seed=climb.seed,
        max_epochs=min(int(bound) for bound in bounds if bound not in (None, -1)),
        accelerator=climb.accelerator,
    )
    return trial, optimization_of(recipe["model"])


def _take_over(climb: Climb, trial: _Trial) -> Score:
    """Count the trial's epochs as the climb's; gives the score of its best one."""
    climb.progress.epochs += trial.progress.epochs
    climb.progress.steps += trial.progress.steps
    climb.progress.curve += trial.progress.curve
    assert trial.keep.best is not None
    return trial.keep.best
