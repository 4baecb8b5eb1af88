"""Weights of a base model: where they lie, how they are read, whether they fit."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tbft.errors import BadInput
from tbft.models.chain import BlockChain
from tbft.models.spec import ChainSpec
from tbft.models.zoo import describe

BUNDLED = Path(__file__).parent / "weights"
_PREFIXES = ("module.", "model.", "network.")


@dataclass(frozen=True)
class BaseWeights:
    """A state dict in a network's own keys, and what is known of the model that it belongs to.

    Attributes:
        path: file that it was read from.
        weights: tensors by state-dict key.
        classes: class names in label order; empty if the file does not say.
        image_size: side of the images that it was trained on, in pixels, if the file says so.
        network: arguments of ``build`` that the file says, or its keys and shapes tell.
        mean, std: normalisation of the images that it was trained on; empty if the file does not say.
    """

    path: Path
    weights: dict[str, Tensor]
    classes: tuple[str, ...] = ()
    image_size: int | None = None
    network: dict[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def find_weights(name: str) -> Path:
    """A weights file by path, or one that ships with the package by bare name.

    Raises:
        BadInput: if there is neither.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    bundled = BUNDLED / f"{name}.safetensors"
    if bundled.is_file():
        return bundled
    known = ", ".join(sorted(file.stem for file in BUNDLED.glob("*.safetensors")))
    raise BadInput(f"no base model {name!r}: give a checkpoint file, or one that ships with tbft ({known})")


def read_weights(name: str, architecture: str | None = None) -> BaseWeights:
    """Read a base model from safetensors, a state dict, or a Lightning checkpoint.

    Prefixes such as ``module.`` (data parallel) and ``model.`` (LightningModule) are taken off. Files are
    read by ``safetensors`` or by ``torch.load(weights_only=True)``: neither runs code from the file.

    Args:
        name: file, or a shipped base model by name.
        architecture: ``timm:NAME`` or ``torchvision:NAME`` of a file that does not say it.

    Raises:
        BadInput: if the file is missing, is not a checkpoint, or belongs to no known architecture.
    """
    path = find_weights(name)
    metadata: dict[str, str] = {}
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                content: Any = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise BadInput(
            f"{path} holds more than tensors and is not loaded, for it could run code: "
            "save its state_dict() alone and give that file"
        ) from None
    except Exception as error:
        raise BadInput(f"{path} cannot be read as a checkpoint: {str(error).splitlines()[0]}") from None
    said = metadata.get("architecture") or architecture or ""
    weights = _state_dict(content, named=":" in said)
    network = _network(path, said, metadata, weights) if ":" in said else describe(weights)
    if network is None:
        some = ", ".join(list(weights)[:3]) or "no tensors"
        raise BadInput(
            f"{path} belongs to no architecture known here (its keys: {some}, ...): give "
            "model.architecture (timm:NAME or torchvision:NAME)"
        )
    classes, mean, std = (_listed(path, metadata, name) for name in ("classes", "mean", "std"))
    size = metadata.get("image_size")
    if size and not size.isdecimal():
        raise BadInput(f"{path} says image_size: {size!r} in its metadata: write the side in pixels, such as 224")
    return BaseWeights(path, weights, classes, int(size) if size else None, network, mean, std)


def _network(
    path: Path, architecture: str, metadata: Mapping[str, str], weights: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Arguments of ``build`` for a network of timm or torchvision, as the file says them."""
    network: dict[str, Any] = {"architecture": architecture.partition("@")[0]}
    if "spec" in metadata:
        spec = ChainSpec.from_json(metadata["spec"])
        head = weights.get(f"{spec.head}.weight")
        if head is None:
            raise BadInput(
                f"{path} has no {spec.head}.weight, which its own metadata call the head: save the model again"
            )
        network |= {"spec": spec, "num_classes": head.shape[0]}
    return network


def _listed(path: Path, metadata: Mapping[str, str], name: str) -> tuple[Any, ...]:
    """A list in a file's metadata; empty if the file does not say."""
    try:
        value = json.loads(metadata.get(name, "[]"))
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise BadInput(
            f"{path} says {name}: {metadata[name]!r} in its metadata, which is no JSON list: write it as one, "
            f'such as ["cat", "dog"] or [0.5]'
        )
    return tuple(value)


def _state_dict(content: Any, named: bool = False) -> dict[str, Tensor]:
    """The tensors of a checkpoint without wrappers and prefixes; of a named architecture, without those of all keys."""
    for key in ("state_dict", "model_state_dict", "net", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        return {}
    weights = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    changed = True
    while changed:
        changed = False
        for prefix in _PREFIXES:
            inside = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            if inside and (len(inside) == len(weights) if named else "conv1.weight" not in weights):
                weights, changed = inside, True
    return weights


def load_weights(chain: BlockChain, base: BaseWeights) -> None:
    """Put a base model's weights into a network.

    Raises:
        BadInput: if they are of another number of classes or of another architecture.
    """
    own = chain.state_dict()
    given = {key: value for key, value in base.weights.items() if key in own}
    classes = base.network.get("num_classes", chain.num_classes)
    if classes != chain.num_classes:
        raise BadInput(
            f"{base.path} tells {classes} classes apart and the data has {chain.num_classes}: "
            "choose the base model that belongs to this data"
        )
    wrong = [k for k in own if k not in given and not k.endswith("num_batches_tracked")]
    wrong += [k for k in base.weights if k not in own]
    wrong += [k for k, v in given.items() if v.shape != own[k].shape]
    if wrong == ["fc.weight"] and base.network.get("image_size"):
        raise BadInput(
            f"{base.path} takes images of {base.network['image_size']} px and not of {chain.image_size} px: leave "
            "model.image_size out, or choose another base model"
        )
    if wrong:
        width = base.network.get("width")
        what = f"{base.network.get('architecture')}" + (f" of width {width}" if width else "")
        built = describe(own) or {}
        if all(built.get(key) == base.network.get(key) for key in ("architecture", "width")):
            raise BadInput(
                f"{base.path} is much like a {what} but not one (first difference at {wrong[0]}): such a network is "
                "not supported, choose another base model"
            )
        raise BadInput(
            f"{base.path} is of another architecture ({what}; first difference at {wrong[0]}): leave "
            "model.architecture out to take the checkpoint's own, or choose another base model"
        )
    chain.load_state_dict(given, strict=False)


def save_weights(
    chain: BlockChain,
    path: Path,
    classes: tuple[str, ...],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> None:
    """Write a network's weights as safetensors, with what a device must know of them, atomically.

    Args:
        chain: the network, whose image size is written too.
        path: file to write.
        classes: names in label order.
        mean: normalisation of the images that it takes; ``None`` is its kind's usual one.
        std: likewise.

    Raises:
        OSError: if the file cannot be written; an older file then stays as it was.
    """
    from safetensors.torch import save

    from tbft.atomic import write_bytes

    weights = {key: value.detach().cpu().contiguous() for key, value in chain.state_dict().items()}
    metadata = {
        "classes": json.dumps(list(classes)),
        "image_size": str(chain.image_size),
        "mean": json.dumps(list(mean or chain.mean)),
        "std": json.dumps(list(std or chain.std)),
    }
    if chain.architecture and chain.spec:
        metadata |= {"architecture": chain.architecture, "spec": chain.spec.to_json()}
    write_bytes(path, save(weights, metadata))
