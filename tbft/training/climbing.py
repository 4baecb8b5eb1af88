"""Training by steps on the way up the ladder: one level's block, or the whole network, by that level's recipe."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

from tbft.adaptation.adaptation import Adaptation
from tbft.adaptation.climb import Climb
from tbft.adaptation.closed_form_head import ClosedFormHead
from tbft.adaptation.score import Score
from tbft.recipe import callbacks_of, optimizer_of, recipe_of
from tbft.remedies.race import Trained


def train_step_by_step(climb: Climb, level: Trained, epochs: int | None, options: Mapping[str, Any]) -> Score:
    """Train from the weights that stand; the network then has those of the best epoch.

    Args:
        climb: whose network, images, meter and progress these are.
        level: whose block and recipe; ``full`` trains all by the recipe of ``strategy/tuned-full.yaml``.
        epochs: how many at most, schedule included; ``None`` leaves that to the recipe.
        options: of the trainer; ``max_epochs`` is the most that a recipe may run.
    """
    from tbft.callbacks import BlockFreezeCallback
    from tbft.command_line.terminal import quiet
    from tbft.module import ImageClassifier
    from tbft.training.steps import train_by_steps

    files = ["strategy/tuned-full.yaml"] if level == "full" else []
    recipe = recipe_of("feature" if level == "full" else level, files, {})
    training = {name: recipe["model"][name] for name in ("learning_rates", "schedule") if name in recipe["model"]}
    freeze = BlockFreezeCallback(**recipe["freeze"])
    freeze.refreshed = climb.statistics == "refresh"  # on all images
    trial = _Trial(
        ImageClassifier.around(climb.classifier, optimizer=optimizer_of(recipe["model"]["optimizer"]), **training),
        copy(climb.data),  # a cache takes the place of its images
        freeze,
        ClosedFormHead(),
        copy(climb.cache),
        _same_meter(climb),
        seed=climb.seed,
        accelerator=climb.accelerator,
    )
    bounds = [epochs, recipe["trainer"]["max_epochs"], options.get("max_epochs")]
    given = {
        **options,
        "callbacks": callbacks_of(options.get("callbacks")),
        "max_epochs": min(int(bound) for bound in bounds if bound not in (None, -1)),
    }
    with quiet():
        train_by_steps(trial, {**given, "accelerator": climb.accelerator or "auto"})
    climb.meter.stopped_by = trial.meter.stopped_by
    climb.progress.epochs += trial.progress.epochs
    climb.progress.steps += trial.progress.steps
    climb.progress.curve += trial.progress.curve
    assert trial.keep.best is not None
    return trial.keep.best


class _Trial(Adaptation):
    """One rung of the ladder: what becomes of it is the climb's to judge."""

    @property
    def has_base(self) -> bool:
        """The climb compares with what stands."""
        return False


def _same_meter(climb: Climb) -> Any:
    """A callback that books to the climb's own meter, process and budgets.

    Not a new meter: that would begin a run of its own, whose peak memory the kernel counts anew.
    """
    from tbft.callbacks import EnergyCallback

    meter = EnergyCallback.__new__(EnergyCallback)
    meter.__dict__.update(climb.meter.__dict__, open=[], earlier={}, stopped_by=None)
    return meter
