"""Write a bundle: checked graphs, weights, a manifest that describes the model, and the device's code."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbft.atomic import write_bytes
from tbft.device.bundle import FORMAT, GRAPHS, MANIFEST, SOURCE, WEIGHTS
from tbft.device.tensors import write_tensors
from tbft.errors import BadInput
from tbft.export import inference
from tbft.export.alignment import alignment_step, source_moments
from tbft.export.archive import MAIN, code_members, zip_members
from tbft.export.check import check_forward, check_images, check_prefix, check_training
from tbft.export.cost import image_bytes, multiply_adds
from tbft.export.forward import Forward, export_forward
from tbft.export.graph import weights_in
from tbft.export.int8 import make_int8
from tbft.export.optimizer import AdamW
from tbft.export.source_card import measure_on, tensors_of
from tbft.export.training import TrainedKeys, evaluation, training_step
from tbft.models.chain import LEVELS, BlockChain
from tbft.models.moments import NEIGHBOURHOOD
from tbft.remedies import Head, SourceCard
from tbft.version import __version__

log = logging.getLogger(__name__)

_CHECKED_IMAGES = 16


COLOURS = 3
"""Number of channels of the pictures that a bundle reads."""


def export_bundle(
    chain: BlockChain,
    to: Path,
    *,
    classes: Sequence[str] = (),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    source: NDArray[np.uint8] | None = None,
    source_labels: NDArray[np.int64] | None = None,
    card: SourceCard | None = None,
    int8: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model as one file that a device runs without torch.

    The forward pass, and twenty steps of the block that trains, are first compared with torch. If a block cannot be
    trained on a device (an operator has no gradient there, or the steps differ), its training is left out and named in
    the manifest and in a warning; prediction, statistics and head remain.

    Args:
        chain: model to export; it is not changed.
        to: file to write, such as ``pet.pyz``.
        classes: class names in label order; without them a device numbers its class folders in alphabetical order.
        mean: mean for normalising images, on the scale 0 to 1; ``None`` takes the chain's.
        std: standard deviation for normalising images, on the same scale; ``None`` takes the chain's.
        source: source images ``(N, C, H, W)``, uint8, that the model was not trained on, to whose moments the front
            block is aligned; 500 are enough. Without them the card's moments are used, and without both the front
            block cannot be aligned on the device.
        source_labels: class indices ``(N,)`` of the source images, from which a source card is measured.
        card: source card of the model's file, used if none is measured; without a card a diagnosis finds less.
        int8: whether to predict in 8-bit whole numbers, calibrated on the source images.
        about: further entries of the manifest.

    Returns:
        ``to``.

    Raises:
        BadInput: if the network does not take colour pictures, torch cannot write it as ONNX, onnxruntime computes
            something else, names or labels do not fit the classes, or ``int8`` is set and int8 is less accurate than
            float, convolutions are too small a share, or there are too few source images.
    """
    if classes and len(classes) != chain.num_classes:
        raise BadInput(f"{len(classes)} class names are given for {chain.num_classes} classes: give one for each")
    if chain.channels != COLOURS:
        raise BadInput(
            f"the network takes images of {chain.channels} channels and a bundle reads pictures in colour: export one "
            f"whose first layer takes {COLOURS}"
        )
    if source_labels is not None and not set(np.unique(source_labels)) <= set(range(chain.num_classes)):
        raise BadInput(f"source_labels are not all from 0 to {chain.num_classes - 1}: give the model's own classes")
    chain = copy.deepcopy(chain).cpu().eval()
    mean, std = tuple(mean or chain.mean), tuple(std or chain.std)
    forward = export_forward(chain)
    in_int8, about_int8 = make_int8(forward, mean, std, source, source_labels) if int8 else ({}, None)
    graphs, blocks, left_out, source_tensors = _make_graphs(chain, forward, mean, std, source, card)
    graphs |= in_int8
    weights = write_tensors(forward.weights)
    members: dict[str, bytes] = {WEIGHTS: weights}
    members |= {f"{GRAPHS}{name}.onnx": content for name, content in graphs.items()}
    head_keys = _head_keys(chain)
    if source is not None and source_labels is not None and head_keys is not None:
        head = Head(*(forward.weights[head_keys[name]].astype(np.float64) for name in ("weight", "bias")))
        card = measure_on(forward.open(graphs["forward"]), source, source_labels, head)
    if card is not None:
        source_tensors |= {f"card.{name}": value for name, value in tensors_of(card).items()}
    if source_tensors:
        members[SOURCE] = write_tensors(source_tensors)
    members |= dict(code_members())
    members["__main__.py"] = MAIN.encode()
    manifest = {
        "format": FORMAT,
        "tbft": __version__,
        "classes": list(classes),
        "num_classes": chain.num_classes,
        "image_size": chain.image_size,
        "mean": mean,
        "std": std,
        "links": list(chain.links),
        "levels": {level: chain.block_of(level) for level in LEVELS},
        "blocks": blocks,
        "head": head_keys,
        "int8": about_int8,
        "graphs": {
            name: {"weights": weights_in(content), "image_bytes": image_bytes(name, forward)}
            for name, content in graphs.items()
        },
        "parameters": sum(p.numel() for p in chain.parameters()),
        "multiply_adds": multiply_adds(forward),
        "left_out": left_out,
        "made_with": {"torch": torch.__version__, "python": platform.python_version()},
        **(about or {}),
        "checksums": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
    }
    for part, reason in left_out.items():
        log.warning("%s is not in the bundle: %s", part, reason)
    write_bytes(to, zip_members({MANIFEST: json.dumps(manifest, indent=1).encode(), **members}))
    return to


def _make_graphs(
    chain: BlockChain,
    forward: Forward,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    source: NDArray[np.uint8] | None,
    card: SourceCard | None,
) -> tuple[dict[str, bytes], dict[str, Any], dict[str, str], dict[str, NDArray[Any]]]:
    graphs = {"forward": inference.whole_network(forward, mean, std)}
    blocks: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    tensors: dict[str, NDArray[Any]] = {}
    pixels = check_images(_CHECKED_IMAGES, forward.image_shape)
    check_forward(chain, pixels, _normalised(pixels, mean, std), forward.open(graphs["forward"]))
    refresh = inference.statistics(forward, mean, std)
    if refresh is not None:
        graphs["statistics"], keys = refresh
        blocks["statistics"] = keys
    block = chain.block_of("feature")
    try:
        made = _make_training(chain, forward, block, mean, std, pixels)
    except BadInput as error:
        left_out[f"training {block}"] = str(error)
    else:
        graphs |= made[0]
        shape = forward.shapes[forward.entry(block)][1:]
        blocks[block] = {"parameters": made[1].parameters, "statistics": made[1].statistics, "features": shape}
    front = chain.links[0]
    try:
        kept = card.moments if card is not None else None
        if kept is not None and kept.neighbourhood != NEIGHBOURHOOD:
            kept = None
        if source is None and kept is None:
            raise BadInput("no source images were given, and the model's file has no card with such moments")
        step, trained = alignment_step(forward, front, parameters_of(chain, front), AdamW(), mean, std)
        moments = kept if source is None else source_moments(chain, _normalised(source, mean, std), front)
        assert moments is not None
    except BadInput as error:
        left_out[f"aligning {front}"] = str(error)
    else:
        graphs["align"] = step
        blocks["align"] = {"parameters": trained.parameters, "statistics": ()}
        tensors = {f"moments.{name}": getattr(moments, name).astype(np.float32) for name in ("mean", "covariance")}
    return graphs, blocks, left_out, tensors


def _make_training(
    chain: BlockChain,
    forward: Forward,
    block: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    pixels: NDArray[np.uint8],
) -> tuple[dict[str, bytes], TrainedKeys]:
    optimizer = AdamW()
    step, trained = training_step(forward, block, parameters_of(chain, block), optimizer)
    graphs = {
        f"prefix.{block}": inference.prefix(forward, block, mean, std),
        f"step.{block}": step,
        f"evaluate.{block}": evaluation(forward, block, trained),
    }
    check_prefix(chain, block, pixels, _normalised(pixels, mean, std), forward.open(graphs[f"prefix.{block}"]))
    labels = np.arange(len(pixels), dtype=np.int64) % chain.num_classes
    options = {"betas": optimizer.betas, "eps": optimizer.epsilon, "weight_decay": optimizer.weight_decay}
    shape = forward.shapes[forward.entry(block)]
    check_training(chain, block, trained, forward.open(step), shape, labels, options)
    return graphs, trained


def parameters_of(chain: BlockChain, block: str) -> list[str]:
    """Return the state-dict keys of a link's parameters."""
    name_of = {id(parameter): name for name, parameter in chain.named_parameters()}
    keys = [name_of[id(p)] for module in chain.modules_of([block]) for p in module.parameters(recurse=False)]
    return list(dict.fromkeys(keys))


def _head_keys(chain: BlockChain) -> dict[str, str] | None:
    """Return the state-dict keys of a linear head's weight and bias; ``None`` if the head is anything else."""
    head = chain.head
    if not chain.linear_head or not isinstance(head, torch.nn.Linear) or head.bias is None:
        return None
    name_of = {id(parameter): name for name, parameter in chain.named_parameters()}
    return {"weight": name_of[id(head.weight)], "bias": name_of[id(head.bias)]}


def _normalised(pixels: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    by_channel = (1, -1, 1, 1)
    mean_of, std_of = (torch.tensor(value, dtype=torch.float32).reshape(by_channel) for value in (mean, std))
    return (torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255 - mean_of) / std_of
