"""The commands ``test`` and ``validate``: load the weights that a run saved, and show scores."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tbft.data import DomainData
from tbft.errors import BadInput
from tbft.models import load_weights, read_weights
from tbft.module import ImageClassifier
from tbft.runs.folder import CONFIG, MODEL, finish_commit
from tbft.yaml_file import read_yaml_file

log = logging.getLogger(__name__)

_DRAWS = ("data.train_size", "data.split", "data.domain", "data.imbalance")
"""Options, beside the seed, by which images are drawn to train; ``data.validation`` then divides those."""


def fitted_folder(configs: Iterable[Path]) -> Path | None:
    """Folder of the run whose ``config.yaml`` is among the given ones, if one is.

    Raises:
        BadInput: if several runs' are: one has the weights, and another the options.
    """
    folders: list[Path] = []
    for path in configs:
        finish_commit(path.parent)
        if (path.parent / MODEL).is_file() and path.parent not in folders:
            folders.append(path.parent)
    if len(folders) > 1:
        raise BadInput(f"{folders[0]} and {folders[1]} are two runs, and one model is evaluated: give one config.yaml")
    return folders[0] if folders else None


def check_base(folder: Path, options: Mapping[str, Any]) -> None:
    """Refuse another base model beside a run's ``config.yaml``, whose weights are evaluated and not the base's.

    Args:
        folder: of the run.
        options: resolved ones of the command.

    Raises:
        BadInput: naming both ways out.
    """
    given, own = options["model"]["base"], _own_options(folder).get("model", {}).get("base")
    if given != own and Path(str(given)).resolve() != Path(str(own)).resolve():
        raise BadInput(
            f"model.base is {given} and {folder / CONFIG} evaluates the weights beside it: leave model.base out, or "
            "say which weights are meant, with --ckpt_path FILE"
        )


def warn_of_trained_images(weights: Path, options: Mapping[str, Any], data: DomainData, part: str) -> None:
    """Say where images are drawn with other options than a run's: some may be those that its weights were trained on.

    Args:
        weights: file of the weights that are evaluated, perhaps in a run's folder.
        options: resolved ones of the command.
        data: opened.
        part: that is evaluated, ``validation`` or ``test``.
    """
    own = _own_options(weights.parent)
    if not own or data.has_own_part(part) or _place_of(own) != _place_of(options):
        return
    names = [*_DRAWS, *(["data.validation"] if part == "validation" else [])]
    changed = [name for name in names if _of_data(own, name) != _of_data(options, name)]
    changed += ["seed_everything"] if own.get("seed_everything") != options.get("seed_everything") else []
    if changed:
        log.warning(
            "the %s images are drawn with another %s than those of %s: it may have been trained on some of them",
            part,
            " and ".join(changed),
            weights.parent,
        )


def use_weights(module: ImageClassifier, data: DomainData, file: str) -> None:
    """Load a run's weights into a classifier, and number the data's labels by the class names of the weights' file.

    Args:
        module: classifier of the run.
        data: data to evaluate on, not opened yet.
        file: ``model.safetensors`` or a checkpoint.

    Raises:
        BadInput: if the file cannot be read, or belongs to another network.
    """
    left = read_weights(file)
    load_weights(module.model, left)
    module.classes = left.classes or module.classes
    data.base_classes = left.classes or data.base_classes


def _own_options(folder: Path) -> dict[str, Any]:
    """The options in a run's folder; empty where there are none."""
    found = read_yaml_file(folder / CONFIG)
    return found if isinstance(found, dict) else {}


def _of_data(options: Mapping[str, Any], name: str) -> Any:
    return ((options.get("data") or {}).get("init_args") or {}).get(name.removeprefix("data."))


def _place_of(options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Which data set, and where."""
    return str((options.get("data") or {}).get("class_path")).rpartition(".")[2], _of_data(options, "data.root")
