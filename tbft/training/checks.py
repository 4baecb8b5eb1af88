"""Checks of a run's options, model and data before anything is written."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from tbft.adaptation.adaptation import Adaptation, choose_device
from tbft.adaptation.batch_check import check_batches
from tbft.adaptation.freezing import BlockFreeze
from tbft.callbacks.checkpoint import LAST, PREVIOUS
from tbft.data import DomainData
from tbft.data.labelled import LabelledData
from tbft.errors import BadInput, check_at_least
from tbft.module import ImageClassifier
from tbft.paths import is_file, user_path
from tbft.training.trainer_options import check_trainer_options

_LEADERS = {
    "image_size": "model.image_size",
    "mean": "model.mean",
    "std": "model.std",
    "base_classes": "the base model's own names",
}
_LEAST = {
    "max_epochs": -1,
    "max_steps": -1,
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "min_epochs": 0,
    "min_steps": 0,
    "log_every_n_steps": 0,
    "gradient_clip_val": 0,
    "num_sanity_val_steps": -1,
}


def check_followers(data: Any) -> None:
    """Refuse options of the data that are copied from the model, because a value given here would be ignored.

    Args:
        data: section ``data`` of a configuration, as parsed.

    Raises:
        BadInput: if there is such an option; the message names the option to give instead.
    """
    given = (data or {}).get("init_args") or {}
    own = inspect.signature(DomainData.__init__).parameters
    for name, leader in _LEADERS.items():
        if name in given and given[name] != own[name].default:
            raise BadInput(f"data.{name} follows {leader}: leave it out")


def check_fit(module: ImageClassifier, data: DomainData, freeze: BlockFreeze, trainer: Mapping[str, Any]) -> None:
    """Check that model, data and target fit together, for a named drift level or blocks; open the data.

    Args:
        module: the classifier.
        data: data of the run.
        freeze: choice of the blocks that train.
        trainer: arguments of the trainer.

    Raises:
        BadInput: if they do not; the message names what is wrong.
    """
    if not data.labelled:
        raise BadInput("data.labelled is false and only ladder.climb adapts without labels: give auto.yaml, or labels")
    target = freeze.target_of(module.model, data.drift)
    check_training(module, trainer)
    if not target and trainer.get("max_epochs") != 0:
        raise BadInput(
            "no parameter would train: name at least one block in freeze.blocks, or give --trainer.max_epochs 0 "
            "to adapt the statistics alone"
        )
    check_classes(module, data)
    check_validation_interval(data, trainer)
    if target:
        check_batches(module, data, module.model.links if freeze.statistics != "source" else target)


def check_climb(module: ImageClassifier, data: DomainData, checkpoint: Any, optimizer: Mapping[str, Any]) -> None:
    """Check that model, data and options fit a climb, where nobody names the drift; open the data.

    Args:
        module: the classifier.
        data: data of the run.
        checkpoint: checkpoint to resume from; ``None`` if none is given.
        optimizer: ``class_path`` and ``init_args`` as configured.

    Raises:
        BadInput: if they do not, or an option is set that the ladder chooses itself; the message names it.
    """
    if data.drift.is_source:
        raise BadInput("ladder.climb adapts a base model to its target domain: leave data.domain source out")
    if module.base is None:
        raise BadInput("ladder.climb needs a base model to begin with: give --model.base")
    if checkpoint is not None:
        raise BadInput("an adaptation without a drift level is not resumed: leave ckpt_path out, it begins again")
    own = module.optimization
    if own.learning_rates is not None or own.schedule != "one_cycle" or not _is_default(optimizer):
        raise BadInput(
            "ladder.climb trains by the recipes of input.yaml and feature.yaml: leave model.optimizer, "
            "model.learning_rates and model.schedule out"
        )
    if data.augment != "none":
        raise BadInput(f"data.augment is {data.augment} and ladder.climb looks at each image as it is: leave it out")
    data.must_split = False  # too few labels or classes give a verdict and not an error
    check_classes(module, data)
    if data.batch_size == 1:
        check_batches(module, data, module.model.links)


def _is_default(optimizer: Mapping[str, Any]) -> bool:
    """Return whether an optimiser, as configured, is the default of ``ImageClassifier``."""
    usual = {name: p.default for name, p in inspect.signature(torch.optim.AdamW).parameters.items()} | {"lr": 5e-3}
    given = optimizer.get("init_args") or {}
    same = all(usual.get(name) == (tuple(v) if isinstance(v, list) else v) for name, v in dict(given).items())
    return optimizer.get("class_path") == "torch.optim.AdamW" and same


def check_training(module: ImageClassifier, trainer: Mapping[str, Any]) -> None:
    """Check that the optimiser and its schedule can be made.

    Raises:
        BadInput: if they cannot; the message names what is wrong.
    """
    module.optimization.check_length(trainer.get("max_epochs"), trainer.get("max_steps", -1))
    module.optimization.check_optimizer(module.model)


def check_adaptation(adaptation: Adaptation, trainer: Mapping[str, Any]) -> None:
    """Check that an adaptation with images from Python can be trained by steps.

    Raises:
        BadInput: if it cannot; the message names what is wrong.
    """
    module = adaptation.classifier
    assert isinstance(module, ImageClassifier)
    choose_device(trainer.get("accelerator"))
    check_trainer(trainer)
    check_trainer_options({"num_sanity_val_steps": 0, "use_distributed_sampler": False, **trainer})
    check_training(module, trainer)
    check_validation_interval(adaptation.data, trainer)


def check_classes(module: ImageClassifier, data: DomainData) -> None:
    """Check that the data has as many classes as the network has outputs; open the data.

    Raises:
        BadInput: if the numbers differ, or the data cannot be opened.
    """
    data.setup()
    if len(data.classes) != module.num_classes:
        where = module.base.path if module.base else "the network"
        raise BadInput(
            f"{where} tells {module.num_classes} classes apart and the data has {len(data.classes)}: "
            "choose the base model that belongs to this data"
        )


def check_trainer(options: Mapping[str, Any]) -> None:
    """Refuse numbers that Lightning's trainer accepts but that fail in the middle of a run, or mean nothing.

    Raises:
        BadInput: if there is such a number; the message names the option.
    """
    for name, least in _LEAST.items():
        check_at_least(least, "trainer", **{name: options.get(name)})
    interval = options.get("val_check_interval")
    if isinstance(interval, int | float) and not 0 < interval < math.inf:
        raise BadInput(f"trainer.val_check_interval is {interval}: give a number of batches, or a share of an epoch")


def check_validation_interval(data: LabelledData, options: Mapping[str, Any]) -> None:
    """Check that an epoch has enough batches for the validation interval.

    Args:
        data: opened data.
        options: options of the trainer.

    Raises:
        BadInput: if an epoch has fewer batches than there are between two validations.
    """
    interval, batches = options.get("val_check_interval"), len(data.train_dataloader())
    if isinstance(interval, int) and interval > batches and options.get("check_val_every_n_epoch", 1) is not None:
        raise BadInput(
            f"trainer.val_check_interval is {interval} and an epoch has {batches} batches: give a smaller number, or "
            "--trainer.check_val_every_n_epoch null to count over epochs"
        )


def make_trainer(kind: Callable[..., Trainer], options: Mapping[str, Any]) -> Trainer:
    """Make Lightning's trainer.

    Args:
        kind: class of the trainer, or a function that makes it.
        options: options of the trainer.

    Raises:
        BadInput: if the trainer refuses its options; the message quotes it.
    """
    try:
        return kind(**options)
    except Exception as error:  # MisconfigurationException, TypeError, ValueError, ModuleNotFoundError, ...
        raise BadInput(f"the trainer does not take its options ({error}): correct them") from None


def checkpoint_file(given: Any, folder: Path, *, fitting: bool) -> str | None:
    """Return the checkpoint file that ``--ckpt_path`` names.

    Args:
        given: path of the file, ``last`` for the one in the run's folder, or ``None``.
        folder: folder of the run.
        fitting: whether a run resumes from it.

    Returns:
        Path of the file; ``None`` if none is given, or if a run resumes from ``last`` and there is none, so that it
        begins again.

    Raises:
        BadInput: if the file is missing, is not on this machine, is empty, or cannot be resumed from.
    """
    if given is None:
        return None
    if "://" in str(given):  # Lightning would download it and run pickled code
        raise BadInput(f"ckpt_path {given} is an address: download the file and give its path")
    file = folder / LAST if given == "last" else user_path(given)
    if fitting and file.name == LAST and is_file(file.with_name(PREVIOUS)):
        return str(file)  # if it is torn, empty or missing, the run resumes from the one before
    if not is_file(file):
        if given == "last" and fitting:
            return None
        raise BadInput(f"there is no checkpoint {file}: give a file, or last for the one in the run's folder")
    if fitting and file.suffix == ".safetensors":
        raise BadInput(f"{file} holds weights, from which no run goes on: give them as model.base")
    if not file.stat().st_size:
        raise BadInput(f"{file} cannot be read as a checkpoint: it is empty, give another one")
    return str(file)
