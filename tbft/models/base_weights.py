"""Find, read and write the weights file of a base model."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tbft.errors import BadInput
from tbft.models.chain import BlockChain
from tbft.models.checksum import check_zip, digest
from tbft.models.probe import KEY as PROBE
from tbft.models.probe import probe, to_text
from tbft.models.source_card import KEY as CARD
from tbft.models.source_card import card_from_text, card_to_text
from tbft.models.spec import ChainSpec
from tbft.models.weights_check import check_finite, read_description, usable_weights
from tbft.models.zoo import KNOWN, describe
from tbft.paths import is_file, user_path
from tbft.remedies.card import SourceCard

BUNDLED = Path(__file__).parent / "weights"
METADATA = "tbft"
"""Key of a run's checkpoint that holds what safetensors calls metadata."""
_CHECKSUM = "sha256"
_PREFIXES = ("module.", "model.", "network.")


@dataclass(frozen=True)
class BaseWeights:
    """The weights and the metadata of a base model's file.

    Attributes:
        path: file that was read.
        weights: tensors by state-dict key of the network.
        classes: class names in the order of the outputs; empty if the file has none.
        image_size: side of the training images, in pixels; ``None`` if the file has none.
        network: arguments of ``build``, from the file's metadata or from its keys and shapes.
        mean, std: normalisation of the training images; empty if the file has none.
        card: source card of the base model; ``None`` if the file has none.
        probe: logits of one fixed image (see ``tbft.models.probe``); empty if the file has none.
    """

    path: Path
    weights: dict[str, Tensor]
    classes: tuple[str, ...] = ()
    image_size: int | None = None
    network: dict[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    card: SourceCard | None = None
    probe: tuple[float, ...] = ()


def find_weights(name: str) -> Path:
    """Return the path of a weights file, given by path or, if it ships with the package, by bare name.

    Raises:
        BadInput: if there is no such file.
    """
    path, bundled = user_path(name), BUNDLED / f"{name}.safetensors"
    for file in (path, bundled):
        if is_file(file):
            return file
    known = ", ".join(sorted(file.stem for file in BUNDLED.glob("*.safetensors")))
    raise BadInput(f"no base model {name!r}: give a checkpoint file, or one that ships with tbft ({known})")


def read_weights(name: str, architecture: str | None = None) -> BaseWeights:
    """Read a base model from safetensors, a state dict, or a Lightning checkpoint.

    Prefixes such as ``module.`` (data parallel) and ``model.`` (LightningModule) are removed. Files are read by
    ``safetensors`` or by ``torch.load(weights_only=True)``; neither runs code from the file.

    Args:
        name: path of the file, or name of a shipped base model.
        architecture: ``timm:NAME`` or ``torchvision:NAME``, for a file without this in its metadata.

    Raises:
        BadInput: if the file is missing, is not a checkpoint, was changed since it was written, or belongs to no known
            architecture.
    """
    path = find_weights(name)
    metadata: dict[str, str] = {}
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                content: Any = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
            said = metadata.pop(_CHECKSUM, None)
            if said is not None and said != digest(content, metadata):
                raise ValueError("it was changed since it was written")
        else:
            if zipfile.is_zipfile(path):
                check_zip(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
            metadata = _metadata_in(content)
    except Exception as error:  # decoders fail in many ways: EOFError, KeyError, SafetensorError, RuntimeError, ...
        raise BadInput(f"{path} cannot be read as a checkpoint: {_reason(path, error)}") from None
    said = metadata.get("architecture") or architecture or ""
    weights = _state_dict(content, named=":" in said)
    network = _network(path, said, metadata, weights) if ":" in said else describe(weights)
    if network is None:
        some = f"its keys: {', '.join(list(weights)[:3])}, ..." if weights else "it holds no tensors"
        raise BadInput(
            f"{path} belongs to no architecture known here ({some}): give model.architecture; known are {KNOWN}"
        )
    outputs = network.get("num_classes")
    classes = None if outputs is None else int(outputs)
    if classes is not None and classes < 2:
        raise BadInput(f"{path} tells {classes} classes apart, and a classifier tells at least 2: choose another base")
    description = read_description(path, metadata, classes)
    return BaseWeights(
        path,
        usable_weights(path, weights),
        description.classes,
        description.image_size,
        network,
        description.mean,
        description.std,
        card_from_text(path, metadata[CARD], classes) if CARD in metadata else None,
        description.probe,
    )


def _network(
    path: Path, architecture: str, metadata: Mapping[str, str], weights: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return the arguments of ``build`` for a network of timm or torchvision, from a file's metadata."""
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


def _reason(path: Path, error: Exception) -> str:
    """Return why a file could not be read, without torch's advice to load it with ``weights_only=False``."""
    if not path.stat().st_size:
        return "it is empty"
    if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):
        return (
            "it holds more than tensors and is not loaded, for it could run code: save its state_dict() alone and "
            "give that file"
        )
    words = " ".join(str(error).split())
    return "it is none, or damaged" if not words or "weights_only" in words or len(words) > 200 else words


def _metadata_in(checkpoint: Any) -> dict[str, str]:
    """Return the metadata in a run's checkpoint, as ``metadata_of`` writes them; empty if there are none."""
    said = checkpoint.get(METADATA) if isinstance(checkpoint, dict) else None
    return {str(key): str(value) for key, value in said.items()} if isinstance(said, dict) else {}


def _state_dict(content: Any, named: bool = False) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, without wrappers and prefixes.

    Args:
        content: content of the file.
        named: whether the architecture is known by name; then a prefix is removed only if all keys have it.
    """
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


def save_weights(
    chain: BlockChain,
    path: Path,
    classes: tuple[str, ...],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    card: SourceCard | None = None,
) -> None:
    """Write a network's weights and metadata as a safetensors file, atomically.

    Of a network that a user made, it also says what the network answers to one image: whoever builds another one by its
    name can tell.

    Args:
        chain: the network.
        path: file to write.
        classes: class names in the order of the outputs.
        mean: mean of the image normalisation, on the scale 0 to 1; ``None`` takes the chain's.
        std: standard deviation of the image normalisation, on the scale 0 to 1; ``None`` takes the chain's.
        card: source card of these weights.

    Raises:
        FloatingPointError: if a weight is NaN or infinite; an older file stays as it was.
        OSError: if the file cannot be written; an older file stays as it was.
    """
    from safetensors.torch import save

    from tbft.atomic import write_bytes

    weights = {key: value.detach().cpu().contiguous() for key, value in chain.state_dict().items()}
    check_finite(weights)
    metadata = metadata_of(chain, classes, mean=mean, std=std)
    if chain.spec is not None:
        metadata[PROBE] = to_text(probe(chain))
    if card is not None:
        metadata[CARD] = card_to_text(card)
    write_bytes(path, save(weights, {**metadata, _CHECKSUM: digest(weights, metadata)}))


def metadata_of(
    chain: BlockChain,
    classes: Sequence[str],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> dict[str, str]:
    """Return the metadata of a network as ``read_weights`` reads them; for the arguments see ``save_weights``."""
    metadata = {
        "classes": json.dumps(list(classes)),
        "image_size": str(chain.image_size),
        "mean": json.dumps(list(chain.mean if mean is None else mean)),
        "std": json.dumps(list(chain.std if std is None else std)),
    }
    if chain.architecture and chain.spec:
        metadata |= {"architecture": chain.architecture, "spec": chain.spec.to_json()}
    return metadata
