"""Adapt a model to a device's own pictures from Python (``personalize``), and load a model (``load``)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tbft.adaptation.adaptation import Adaptation, choose_device
from tbft.adaptation.batch_check import check_batches
from tbft.adaptation.climb import Climb
from tbft.adaptation.closed_form_head import ClosedFormHead
from tbft.adaptation.feature_cache import FeatureCache
from tbft.adaptation.freezing import BlockFreeze
from tbft.adaptation.ladder import Ladder
from tbft.adaptation.optimization import Optimization
from tbft.adaptation.record import make_record
from tbft.adaptation.recorded import RecordedRun
from tbft.adaptation.stepping import honours, train_in_loop
from tbft.data.images import Images
from tbft.data.sample import ImageSample
from tbft.energy.run_meter import RunMeter
from tbft.errors import BadInput
from tbft.given_images import has_labels, read_given, side_of
from tbft.given_model import classifier_of
from tbft.models.classifier import Classifier
from tbft.options.recipe import AUTO, Options, callbacks_of, check_values, optimization_of, recipe_of
from tbft.own_state import checked_seed, own_state
from tbft.personalized import Model, Personalized, Record
from tbft.remedies.race import Outcome
from tbft.runs.folder import RunFolder
from tbft.training.climbing import train_in_loop_from, train_step_by_step


def personalize(
    model: nn.Module | Model | str | Path,
    images: Images,
    labels: Any = None,
    *,
    level: str | None = None,
    validation: float = 0.1,
    classes: Sequence[str] | None = None,
    budget_joules: float | None = None,
    budget_seconds: float | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    config: str | Path | Iterable[str | Path] = (),
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    image_size: int | None = None,
    blocks: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
    inplace: bool = False,
    **options: Any,
) -> Personalized:
    """Adapt a classifier to images of the domain that it is used in.

    It ends with the same weights as ``fit --config LEVEL.yaml --config data/folder.yaml --data.test_size 0`` on the
    same images. Without a level it does as ``auto.yaml``, which finds out itself what drifted.

    Example:
        >>> import tbft
        >>> better = tbft.personalize("digits", images, labels, level="output")  # doctest: +SKIP
        >>> better.accuracy, better.kept  # doctest: +SKIP

    Args:
        model: a network from images ``(N, C, H, W)`` to logits ``(N, num_classes)``; what ``load`` or ``personalize``
            returned; or a weights file or a shipped base model's name, as for ``--model.base``.
        images: uint8 images ``(N, C, H, W)`` or, as an array, ``(N, H, W, C)``, which are resized and normalised as
            the model expects; floating-point images, which the model takes unchanged; a list of PIL pictures or
            paths; or a folder of class folders, which brings its own labels. Copies of a picture are left
            out. Grey pictures are given one channel if the network takes one.
        labels: class indices or class names, one per image, in a list, an array or a tensor. Without labels, which is
            possible only without a level, the remedies that need no labels are tried: refreshed statistics, the class
            prior, and aligning the front block to the base model's source card.
        level: drift level ``input``, ``feature`` or ``output``: what changed against the model's training data.
            ``None`` (or ``auto``) lets the sample decide.
        validation: share of the images that is used for validation, between 0 and 1.
        classes: class names in the order of the model's outputs; by default those that its file holds.
        budget_joules: joules after which training stops, counted over the adaptation; ``None`` is no limit.
        budget_seconds: seconds of wall time after which training stops, counted over the adaptation.
        out: folder for ``model.safetensors`` and ``result.json``, and with ``**{"energy.plot": True}`` also for
            figures; by default nothing is written.
        seed: seed that draws the validation images and the order of batches.
        config: further presets or files of options, such as ``strategy/full.yaml``; later ones win.
        mean: mean for normalising uint8 images, on the scale 0 to 1, one number or one per channel; by default what
            the model's file or its ``pretrained_cfg`` says.
        std: standard deviation for normalising uint8 images, on the same scale and with the same default.
        image_size: side of the images that the model takes, in pixels; by default that of floating-point images, or
            what the model's file or its ``pretrained_cfg`` says, or 224.
        blocks: how to cut a network that cannot be traced into blocks (see ``tbft.models.traced.chain_of``).
        inplace: change the given network instead of a copy.
        options: options of the command line by name, as ``**{"trainer.max_epochs": 4}`` or
            ``trainer={"max_epochs": 4}``.

    Returns:
        The adapted model, or the base model if validation finds it better, with the record of the adaptation.

    Raises:
        BadInput: if an argument cannot be used; the model is then unchanged.
    """
    seed = checked_seed(seed)
    if not isinstance(validation, int | float | np.number) or not 0 < validation < 1:
        raise BadInput(f"validation is {validation!r}: it is a share between 0 and 1")
    level = None if level == AUTO else level
    recipe = recipe_of(level, config, options)
    if level is None and not {"level", "blocks"} & set(recipe["freeze"]):
        recipe = recipe_of(AUTO, config, options)
    recipe["energy"] = {"codecarbon": False, "plot": False, **recipe["energy"]}
    for name, budget in (("budget_joules", budget_joules), ("budget_seconds", budget_seconds)):
        if budget is not None:
            if recipe["energy"].get(name) is not None:
                raise BadInput(f"energy.{name} and {name} are the same option: leave one of them out")
            recipe["energy"][name] = budget
    check_values(recipe)
    climbs = Ladder(**recipe["ladder"]).climb
    if climbs and (named := {"optimizer", "learning_rates", "schedule"} & set(recipe["model"])):
        raise BadInput(f"without a level blocks are trained by the levels' own recipes: leave model.{min(named)} out")
    if not (climbs or has_labels(images, labels)):
        raise BadInput(f"the images have no labels, which level={level!r} needs: give labels, or leave the level out")
    number_format = recipe["model"].get("number_format", "channels_last")
    size = side_of(images) if image_size is None else image_size
    with (
        own_state(),
        classifier_of(
            model, size=size, mean=mean, std=std, blocks=blocks, number_format=number_format, inplace=inplace
        ) as (classifier, network),
    ):
        given = read_given(classifier, images, labels, classes=classes, normalised=mean is not None)
        sample = ImageSample(
            given.x,
            given.y,
            given.classes,
            level=level,
            validation=validation,
            mean=classifier.mean,
            std=classifier.std,
            strata=given.strata,
            name=given.name,
            seed=seed,
            must_split=not climbs,
            **recipe["data"],
        )
        if not recipe["head"].get("solve") and (sample.batch_size == 1 or not climbs):
            check_batches(classifier, sample, classifier.model.links)
        return _adapt(classifier, network, sample, recipe, seed, None if out is None else Path(out).expanduser())


def load(
    model: nn.Module | Model | str | Path,
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    image_size: int | None = None,
    blocks: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
) -> Model:
    """Load a classifier for prediction, such as a weights file that ``save`` wrote or a shipped base model.

    Args:
        model: model to load, in any form that ``personalize`` takes.
        mean: mean for normalising uint8 images, as in ``personalize``.
        std: standard deviation for normalising uint8 images, as in ``personalize``.
        image_size: side of the images that the model takes, in pixels, as in ``personalize``.
        blocks: how to cut a network that cannot be traced, as in ``personalize``.

    Raises:
        BadInput: if the model cannot be used.
    """
    with (
        own_state(),
        classifier_of(model, size=image_size, mean=mean, std=std, blocks=blocks) as (classifier, network),
    ):
        classifier.place(choose_device("cpu"))
        return Model(classifier, network, classifier.classes)


def _adapt(
    classifier: Classifier, network: nn.Module, sample: ImageSample, recipe: Options, seed: int, out: Path | None
) -> Personalized:
    options = recipe["trainer"]
    accelerator = options.get("accelerator") or _accelerator_of(network)

    def adaptation_of(
        kind: type[Adaptation], freeze: type[BlockFreeze], meter: type[RunMeter], **more: Any
    ) -> Adaptation:
        return kind(
            classifier,
            sample,
            freeze(**recipe["freeze"]),
            ClosedFormHead(**recipe["head"]),
            FeatureCache(**recipe["cache"]),
            meter(**recipe["energy"]),
            seed=seed,
            max_epochs=options.get("max_epochs"),
            accelerator=accelerator,
            **more,
        )

    in_loop, bar = honours(options), options.get("enable_progress_bar", sys.stderr.isatty())
    if recipe["ladder"].get("climb"):
        ladder = Ladder(**recipe["ladder"])
        meter: type[RunMeter] = RunMeter
        train: Callable[..., Outcome] = partial(train_in_loop_from, show_progress=bar)
        if not in_loop:
            from tbft.callbacks import EnergyCallback

            meter = EnergyCallback  # the trainer of a trial books its energy to this callback
            train = partial(train_step_by_step, options={"enable_progress_bar": bar, **options})
        adaptation = adaptation_of(Climb, BlockFreeze, meter, ladder=ladder, train=train)
    else:
        adaptation = adaptation_of(Adaptation, BlockFreeze, RunMeter)
    adaptation.meter.check()
    adapt: Callable[[], object] = adaptation.run_without_steps
    if adaptation.trains_by_steps:
        optimization = optimization_of(recipe["model"])
        if in_loop:
            choose_device(accelerator)
            optimization.check_optimizer(classifier.model)
            adapt = partial(train_in_loop, adaptation, optimization, show_progress=bar)
        else:
            from tbft.callbacks import BlockFreezeCallback, EnergyCallback

            adaptation = adaptation_of(Adaptation, BlockFreezeCallback, EnergyCallback)
            adapt = _training_with_trainer(adaptation, optimization, options)

    if out is None:
        adapt()
        record = make_record(adaptation, "completed", name=sample.name, config_hash="")
    else:
        folder = RunFolder(out)
        with folder.locked():
            recorded = RecordedRun(adaptation, folder, config_hash="", test=False)
            recorded.run(adapt)
        record = recorded.record
    validated = len(adaptation.keep.best.right) if adaptation.keep.best else 0
    return Personalized(classifier, network, sample.classes, Record.of(record), validated)


def _training_with_trainer(adaptation: Adaptation, optimization: Optimization, options: Mapping[str, Any]) -> Callable:
    """Check the options of Lightning's Trainer and return a function that trains with it."""
    from tbft.module import ImageClassifier
    from tbft.training.checks import check_adaptation
    from tbft.training.quiet import quiet
    from tbft.training.steps import train_by_steps

    adaptation.classifier = ImageClassifier.around(adaptation.classifier, optimization)
    given = {"accelerator": adaptation.accelerator, "enable_progress_bar": sys.stderr.isatty(), **options}
    given["callbacks"] = callbacks_of(options.get("callbacks"))
    check_adaptation(adaptation, given)

    def train() -> None:
        with quiet():
            train_by_steps(adaptation, given)

    return train


def _accelerator_of(network: nn.Module) -> str:
    """Return the accelerator that the caller's network is on: ``cuda``, ``mps``, or otherwise ``cpu``."""
    device = next((p.device.type for p in network.parameters()), "cpu")
    return device if device in ("cuda", "mps") else "cpu"
