"""What can be wrong with a run, found before anything of it is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from tbft.callbacks import BlockFreezeCallback
from tbft.data import DomainData
from tbft.errors import BadInput
from tbft.module import ImageClassifier

_GPUS = {"gpu": (CUDAAccelerator, MPSAccelerator), "cuda": (CUDAAccelerator,), "mps": (MPSAccelerator,)}


def check_accelerator(name: Any) -> None:
    """Make sure that the device which is asked for by name is there.

    Raises:
        BadInput: if it is not.
    """
    if name in _GPUS and not any(kind.is_available() for kind in _GPUS[name]):
        raise BadInput(
            f"trainer.accelerator is {name} and torch finds no such device here: leave gpu.yaml out, or give "
            "--trainer.accelerator cpu"
        )


def device_of(name: Any) -> torch.device:
    """The kind of device that ``trainer.accelerator`` means by this name."""
    for kind, accelerator in (("cuda", CUDAAccelerator), ("mps", MPSAccelerator)):
        if name in (kind, "gpu", "auto") and accelerator.is_available():
            return torch.device(kind)
    return torch.device("cpu")


def check_fit(
    module: ImageClassifier, data: DomainData, freeze: BlockFreezeCallback, trainer: Mapping[str, Any]
) -> None:
    """Make sure that model, data and what is to be trained belong together; opens the data.

    Args:
        module: the classifier.
        data: its data.
        freeze: which blocks train.
        trainer: arguments of the trainer.

    Raises:
        BadInput: naming what is wrong.
    """
    target = freeze.target_of(module.model, data)
    module.model.resolve([*(module.learning_rates or {})])
    module.check_length(trainer.get("max_epochs"), trainer.get("max_steps", -1))
    if not target and trainer.get("max_epochs") != 0:
        raise BadInput(
            "no parameter would train: name at least one block in freeze.blocks, or give --trainer.max_epochs 0 "
            "to adapt the statistics alone"
        )
    data.setup("fit")
    if len(data.classes) != module.num_classes:
        where = module.base.path if module.base else "the network"
        raise BadInput(
            f"{where} tells {module.num_classes} classes apart and the data has {len(data.classes)}: "
            "choose the base model that belongs to this data"
        )


def checkpoint_file(given: Any, folder: Path, *, fitting: bool) -> str | None:
    """The file that ``--ckpt_path`` names: by its path, or as ``last`` of the run's folder.

    Args:
        given: path, ``last`` or ``None``.
        folder: of the run.
        fitting: whether the run goes on from it; ``last`` without a file is then a run that begins again.

    Raises:
        BadInput: if it is not there, is not on this machine, or no run can go on from it.
    """
    if given is None:
        return None
    if "://" in str(given):  # Lightning would fetch it, and run what is pickled in it
        raise BadInput(f"ckpt_path {given} is an address: download the file and give its path")
    file = folder / "last.ckpt" if given == "last" else Path(given).expanduser()
    if not file.is_file():
        if given == "last" and fitting:
            return None
        raise BadInput(f"there is no checkpoint {file}: give a file, or last for the one in the run's folder")
    if fitting and file.suffix == ".safetensors":
        raise BadInput(f"{file} holds weights, from which no run goes on: give them as model.base")
    return str(file)
