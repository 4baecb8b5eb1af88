"""Turn a model given from Python into a classifier: a network, a ``Model``, a weights file or a shipped base model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from tbft.errors import BadInput
from tbft.models.chain import BlockChain
from tbft.models.classifier import Classifier, PlainClassifier
from tbft.models.number_format import FORMATS
from tbft.models.statistics import inference_mode_of
from tbft.models.weights_check import check_finite
from tbft.normalisation import as_numbers, check_normalisation
from tbft.personalized import Model


@contextmanager
def classifier_of(
    model: nn.Module | Model | str | Path,
    *,
    size: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    blocks: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
    number_format: str = "channels_last",
    inplace: bool = False,
) -> Iterator[tuple[Classifier, nn.Module]]:
    """Make a classifier from a model, within a context.

    When the context ends, the network is in inference mode, on its original device and with its original gradient
    flags. If it ends with an exception, a network given from Python has its original weights and modes.

    Args:
        model: a network, what ``load`` or ``personalize`` returned, a weights file, or a shipped base model's name.
        size: side of the images, in pixels; ``None`` takes what the file or ``pretrained_cfg`` says, or 224.
        mean: mean for normalising images, on the scale 0 to 1; ``None`` takes what the file or ``pretrained_cfg`` says,
            and leaves the classifier's empty if a network says nothing.
        std: standard deviation for normalising images, on the same scale and with the same default.
        blocks: how to cut a network that cannot be traced (see ``tbft.models.traced.chain_of``).
        number_format: number format and memory layout of convolutions (see ``ImageClassifier``).
        inplace: use the given network itself instead of a copy.

    Yields:
        The classifier, and the network of the caller's own kind that shares its weights.

    Raises:
        BadInput: if the model is no classifier, or cannot be cut into a chain of blocks.
    """
    network: nn.Module
    classifier: Classifier = PlainClassifier(number_format)
    mean, std = (None if given is None else as_numbers(given) for given in (mean, std))
    if size is not None and (not isinstance(size, Integral) or size < 1):
        raise BadInput(f"image_size is {size!r}: give the side of the images, in whole pixels")
    is_classifier = isinstance(model, Model | str | Path)
    for name, is_given in (("blocks", blocks is not None), ("inplace", inplace)):
        if is_given and is_classifier:
            raise BadInput(f"{name}= is for a network that is given from Python: leave it out")
    if isinstance(model, Model):
        classifier, network = model.copy_classifier()
        if size not in (None, side := classifier.image_size):
            raise BadInput(
                f"image_size is {size} and the model was loaded for {side} px: load it with image_size={size}"
            )
        classifier.number_format = FORMATS.get(number_format)
        classifier.mean = classifier.mean if mean is None else mean
        classifier.std = classifier.std if std is None else std
    elif isinstance(model, str | Path):
        classifier.load(str(model), image_size=size)
        classifier.describe_images(mean, std)
        network = classifier.model
    else:
        model = _as_written(model)
        if inplace and any(parameter.is_inference() for parameter in model.parameters()):
            raise BadInput("the model was made under torch.inference_mode and cannot train: leave inplace=True out")
        network = model if inplace else _copy_of(model)
    before = {key: value.detach().clone() for key, value in network.state_dict().items()} if inplace else {}
    modes = [(module, module.training) for module in network.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    try:
        for parameter, _ in wanted:  # a network that has only predicted so far may have all its parameters frozen
            parameter.requires_grad_(parameter.is_floating_point())
        if not is_classifier:
            said = _said_of_images(network)
            classifier.model = _chain(network, size or said.get("image_size") or 224, blocks)
            classifier.mean, classifier.std = (
                tuple(given if given is not None else said.get(name, ()))
                for name, given in (("mean", mean), ("std", std))
            )
        if classifier.mean or classifier.std:
            check_normalisation("", classifier.mean, classifier.std)
        yield classifier, network
    except BaseException:
        network.to(device)
        if inplace:
            network.load_state_dict(before)
        for module, mode in modes:
            module.training = mode
        raise
    else:
        network.to(device).eval()
    finally:
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)


def _as_written(model: Any) -> nn.Module:
    """Return the network, without the wrapper of ``torch.compile``, after checking that it can be adapted.

    Raises:
        BadInput: if it is no network, or is TorchScript, has no weights, or has weights without values, not in fp32 or
            not finite.
    """
    model = getattr(model, "_orig_mod", model)
    kind = type(model).__name__
    if not isinstance(model, nn.Module):
        raise BadInput(f"the model is a {kind}: give a network (nn.Module), a weights file, or a base model's name")
    if isinstance(model, torch.jit.ScriptModule):
        raise BadInput("the model is a TorchScript one and cannot be cut into blocks: give the one it was made from")
    if not any(True for _ in model.parameters()):
        raise BadInput(f"the model is a {kind} without any weight: give a network that has some")
    if any(parameter.is_meta or isinstance(parameter, UninitializedParameter) for parameter in model.parameters()):
        raise BadInput("the model's weights have no values yet: load them, or run the model on one batch")
    kinds = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.is_floating_point()} - {"float32"}
    if kinds:
        raise BadInput(
            f"the model's weights are {', '.join(sorted(kinds))}: give it in fp32, as model.float() makes it"
        )
    try:
        check_finite(model.state_dict())
    except FloatingPointError:
        raise BadInput("the model's weights are not finite (NaN or infinity): give another model") from None
    return model


def _copy_of(model: nn.Module) -> nn.Module:
    try:
        return deepcopy(model)
    except Exception as error:  # copying a module's own attributes can raise anything
        reason = str(error).partition(".")[0][:120]
        raise BadInput(f"the model cannot be copied ({reason}): give inplace=True to change the model itself") from None


def _chain(network: nn.Module, size: int, blocks: Mapping[str, Sequence[str]] | Sequence[str] | None) -> BlockChain:
    if isinstance(network, BlockChain):
        return network
    from tbft.models.traced import chain_of

    chain = chain_of(network, image_size=size, channels=_channels_of(network, size), blocks=blocks)
    architecture = _pretrained(network).get("architecture")
    if architecture and type(network).__module__.startswith("timm."):
        chain.architecture = f"timm:{architecture}"
    return chain


def _channels_of(network: nn.Module, size: int) -> int:
    """Channels of the images that a network takes: as its first convolution has it, unless that sees something else."""
    first = next((part.in_channels for part in network.modules() if isinstance(part, nn.Conv2d)), None)
    if first in (1, 3):
        return first
    device = next(network.parameters()).device
    for channels in (3, 1):
        try:
            with torch.no_grad(), inference_mode_of(network):
                network(torch.zeros(2, channels, size, size, device=device))
        except Exception:  # a network can fail in any way on what it does not take
            continue
        return channels
    return first or 3


def _said_of_images(network: nn.Module) -> dict[str, Any]:
    """Return the image size and normalisation that a network declares, as far as it does."""
    if isinstance(network, BlockChain):
        return {"image_size": network.image_size, "mean": network.mean, "std": network.std}
    said = _pretrained(network)
    found: dict[str, Any] = {name: tuple(said[name]) for name in ("mean", "std") if said.get(name)}
    if said.get("input_size"):
        found["image_size"] = int(said["input_size"][-1])
    return found


def _pretrained(network: nn.Module) -> Mapping[str, Any]:
    """Return timm's description of a network's pretrained weights; empty for other networks."""
    said = getattr(network, "pretrained_cfg", None)
    return said if isinstance(said, Mapping) else {}
