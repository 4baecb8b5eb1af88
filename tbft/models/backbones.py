"""Networks of timm and torchvision by name, as chains of blocks."""

from __future__ import annotations

import threading
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch
from torch import nn

from tbft.errors import BadInput
from tbft.models.spec import ChainSpec
from tbft.models.traced import TracedChain, chain_of

PRETRAINED = "@pretrained"
_PATIENCE = 5.0
"""Seconds to wait for the first answer of a server."""


def build_backbone(
    architecture: str, *, num_classes: int, image_size: int | None = None, spec: ChainSpec | None = None
) -> TracedChain:
    """Build a network of timm or torchvision as a chain of blocks, with the normalisation of its pretrained weights.

    Args:
        architecture: ``timm:NAME`` or ``torchvision:NAME``. With ``@pretrained`` appended the library downloads
            weights; the head stays fresh if it has another number of classes than they have.
        num_classes: number of outputs of the head.
        image_size: side of the images, in pixels; ``None`` takes the size of the pretrained weights.
        spec: cuts of an earlier chain of this network; ``None`` chooses the cuts.

    Raises:
        BadInput: if there is no such network, it cannot be a chain at this size, or weights cannot be downloaded.
    """
    name, _, option = architecture.partition("@")
    library, _, name = name.partition(":")
    if option not in ("", PRETRAINED[1:]):
        raise BadInput(f"unknown architecture {architecture!r}: after @ there can be 'pretrained' alone")
    make = {"timm": _from_timm, "torchvision": _from_torchvision}[library]
    network, size, mean, std = make(name, num_classes, image_size, bool(option))
    try:
        return chain_of(
            network, image_size=image_size or size, spec=spec, mean=mean, std=std, architecture=f"{library}:{name}"
        )
    except BadInput as error:
        raise BadInput(f"{library}:{name}: {error}") from None


Backbone = tuple[nn.Module, int, tuple[float, ...], tuple[float, ...]]


def _from_timm(name: str, num_classes: int, image_size: int | None, pretrained: bool) -> Backbone:
    try:
        import timm
    except ImportError:
        raise BadInput(f"timm:{name} needs the library timm: pip install 'tbft[timm]'") from None
    if not timm.is_model(name):
        raise BadInput(_unknown(f"timm:{name}", timm.list_models(), name))
    config = timm.get_pretrained_cfg(name) or timm.get_pretrained_cfg(name.partition(".")[0])
    if pretrained:
        _check_timm_weights(name, config)

    def make(**options: Any) -> nn.Module:
        try:
            return timm.create_model(name, pretrained=pretrained, num_classes=num_classes, **options)
        except (RuntimeError, OSError, ValueError, AssertionError) as error:
            raise BadInput(f"timm:{name} cannot be made: {_first_line(error)}") from None

    try:
        network = make(img_size=image_size) if image_size else make()
    except TypeError:  # the network has no such option and takes images of any size
        network = make()
    known: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    return network, int(known["input_size"][-1]), tuple(known["mean"]), tuple(known["std"])


def _from_torchvision(name: str, num_classes: int, image_size: int | None, pretrained: bool) -> Backbone:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise BadInput(_unknown(f"torchvision:{name}", known, name))
    weights = models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    # With auxiliary heads the network returns more than logits in training.
    options: dict[str, Any] = (
        {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    )
    if image_size and name.startswith("vit_"):
        options["image_size"] = image_size
    if image_size and name.startswith("maxvit_"):
        options["input_size"] = (image_size, image_size)
    if pretrained and "aux_logits" in options:
        options["transform_input"] = True  # as torchvision does with these weights
    try:
        network = models.get_model(name, num_classes=num_classes, **options)
    except (ValueError, TypeError) as error:
        raise BadInput(f"torchvision:{name} cannot be made for {image_size} px: {_first_line(error)}") from None
    if pretrained:
        if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(weights.url).path).name).is_file():
            _check_reachable(weights.url, f"torchvision:{name}")
        try:
            found = models.get_model(name, weights=weights).state_dict()
        except OSError as error:
            raise BadInput(f"the weights of torchvision:{name} cannot be downloaded: {_first_line(error)}") from None
        own = network.state_dict()
        fitting = {key: value for key, value in found.items() if key in own and own[key].shape == value.shape}
        network.load_state_dict(fitting, strict=False)  # without auxiliary heads, and a head of other classes
    return network, preset.crop_size[0], tuple(preset.mean), tuple(preset.std)


def _check_timm_weights(name: str, config: Any) -> None:
    """Check that pretrained weights can be had; the hub's own client retries for a long time.

    Raises:
        BadInput: if there are no pretrained weights of this network, or no server answers.
    """
    repository, url = getattr(config, "hf_hub_id", None), getattr(config, "url", None)
    if not (repository or url):
        raise BadInput(f"there are no pretrained weights of timm:{name}: leave {PRETRAINED} out, or name others")
    server = str(url)
    if repository:
        from huggingface_hub import constants, try_to_load_from_cache

        repository = repository if "/" in repository else f"timm/{repository}"
        files = ("model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
        if any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
            return
        server = constants.ENDPOINT
    _check_reachable(server, f"timm:{name}")


def _check_reachable(url: str, name: str) -> None:
    """Check that a server answers.

    Raises:
        BadInput: if it does not answer within a few seconds.
    """
    failed: list[str] = ["no answer"]

    def ask() -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=_PATIENCE).close()
        except HTTPError:
            pass  # an error status is an answer too
        except (OSError, ValueError) as error:
            failed[0] = _first_line(error)
            return
        failed.clear()

    thread = threading.Thread(target=ask, daemon=True)  # name resolution ignores the timeout
    thread.start()
    thread.join(_PATIENCE + 1)
    if failed:
        raise BadInput(
            f"the pretrained weights of {name} cannot be downloaded from {urlsplit(url).hostname} ({failed[0]}): "
            "connect to the network, or give a file of them as model.base"
        )


def _unknown(architecture: str, known: list[str], name: str) -> str:
    near = get_close_matches(name.partition(".")[0], known, 3)
    return f"unknown architecture {architecture!r}" + (
        f": did you mean {', '.join(near)}?" if near else ": see its list"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
