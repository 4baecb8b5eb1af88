"""Writes the bundle: graphs that were checked, weights once, what is known of the model, and the device's code."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import io
import json
import logging
import platform
import py_compile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import tbft
from tbft.atomic import write_bytes
from tbft.device.bundle import FORMAT, GRAPHS, MANIFEST, SOURCE, WEIGHTS
from tbft.device.runtime import Runtime, Session
from tbft.device.tensors import write_tensors
from tbft.errors import BadInput
from tbft.export import inference
from tbft.export.alignment import SIDE, STRIDE, alignment_step, source_moments
from tbft.export.check import check_forward, check_steps
from tbft.export.forward import Forward, export_forward
from tbft.export.optimizer import AdamW
from tbft.export.source_card import measure_on, tensors_of
from tbft.export.training import Trained, evaluation, training_step
from tbft.models.chain import LEVELS, BlockChain
from tbft.remedies import Head, SourceCard

log = logging.getLogger(__name__)

MODULES = (
    *("tbft", "tbft.atomic", "tbft.errors", "tbft.paths", "tbft.predictions", "tbft.schema"),
    *("tbft.data", "tbft.data.picture_file", "tbft.data.picture_folders", "tbft.data.class_names", "tbft.data.splits"),
)
"""Modules that travel in the bundle, beside all of ``PACKAGES``."""

PACKAGES = ("tbft.device", "tbft.energy", "tbft.remedies", "tbft.diagnosis")
"""Packages that travel whole, as far as they are installed."""

_MAIN = "import sys\n\nfrom tbft.device.command import main\n\nsys.exit(main())\n"

_CHECKED_IMAGES = 8

_TRAINING, _NEIGHBOURHOODS = 1.8, 7
"""See ``image_bytes``."""


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
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model as one file that a device runs without torch.

    The forward pass, and twenty steps of the block that trains, are compared with torch first. What cannot be trained
    on a device (an operator has no gradient there, or the steps differ) is left out and named in the manifest and in a
    warning; prediction, statistics and head remain.

    Args:
        chain: the model; it stays as it is.
        to: file to write, such as ``pet.pyz``.
        classes: class names in label order; without them a device's folders count in alphabetical order.
        mean: normalisation of images on the scale 0 to 1; ``None`` is the chain's.
        std: likewise.
        source: source images ``(N, C, H, W)`` that the model was not trained on, to which the front block is aligned;
            500 are enough. Without them that remedy is left out.
        source_labels: their labels ``(N,)``, for the source card; without it a diagnosis knows less.
        card: the source card that the model's file holds, where no source images are given.
        about: what else the manifest shall say.

    Returns:
        ``to``.

    Raises:
        BadInput: if torch cannot write the network as ONNX, onnxruntime computes something else, or names or labels do
            not fit the classes.
    """
    if classes and len(classes) != chain.num_classes:
        raise BadInput(f"{len(classes)} class names are given for {chain.num_classes} classes: give one for each")
    if source_labels is not None and not set(np.unique(source_labels)) <= set(range(chain.num_classes)):
        raise BadInput(f"source_labels are not all from 0 to {chain.num_classes - 1}: give the model's own classes")
    chain = copy.deepcopy(chain).cpu().eval()
    mean, std = tuple(mean or chain.mean), tuple(std or chain.std)
    forward = export_forward(chain)
    graphs, blocks, left_out, source_tensors = _make_graphs(chain, forward, mean, std, source, card)
    weights = write_tensors(forward.weights)
    members: dict[str, bytes] = {WEIGHTS: weights}
    members |= {f"{GRAPHS}{name}.onnx": content for name, content in graphs.items()}
    head_keys = _head_keys(chain)
    if source is not None and source_labels is not None and head_keys is not None:
        head = Head(*(forward.weights[head_keys[name]].astype(np.float64) for name in ("weight", "bias")))
        card = measure_on(_open(graphs["forward"], forward), source, source_labels, head)
    if card is not None:
        source_tensors |= {f"card.{name}": value for name, value in tensors_of(card).items()}
    if source_tensors:
        members[SOURCE] = write_tensors(source_tensors)
    members |= dict(_code())
    members["__main__.py"] = _MAIN.encode()
    manifest = {
        "format": FORMAT,
        "tbft": tbft.__version__,
        "classes": list(classes),
        "num_classes": chain.num_classes,
        "image_size": chain.image_size,
        "mean": mean,
        "std": std,
        "links": list(chain.links),
        "levels": {level: chain.block_of(level) for level in LEVELS},
        "blocks": blocks,
        "head": head_keys,
        "graphs": {
            name: {"weights": weights_in(content, forward), "image_bytes": image_bytes(name, forward, chain)}
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
    write_bytes(to, _zip({MANIFEST: json.dumps(manifest, indent=1).encode(), **members}))
    return to


def multiply_adds(forward: Forward) -> float:
    """Multiply-adds of one image's forward pass, in convolutions and linear layers."""
    total = 0.0
    for node in forward.nodes:
        weight = forward.weights.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type in ("Conv", "Gemm", "MatMul") and weight is not None:
            places = [size for size in forward.shapes[node.output[0]][2:] if size]
            total += weight.size * float(np.prod(places)) if node.op_type == "Conv" else weight.size
    return total


def image_bytes(graph: str, forward: Forward, chain: BlockChain) -> float:
    """Memory that one image of a batch takes in a graph, by a rule that was compared with measurements.

    Inference keeps about three of the largest activations alive, estimating statistics another half of that. Training
    keeps all activations, and about as much again for their gradients; the alignment also the neighbourhoods, seven
    times. Measured for ResNet-26: 194 kB (by the rule 197), 258 kB (295), and 4.9 MB of the alignment (5.0).
    """
    kind, _, block = graph.partition(".")
    if kind in ("step", "align"):
        nodes = forward.span(block, forward.links[-1]) if block else forward.span(None, forward.links[0])
        alive = sum(_elements(forward.shapes[name]) for node in nodes for name in node.output)
        if kind == "align":
            alive += _NEIGHBOURHOODS * SIDE**2 / STRIDE**2 * _elements(forward.shapes[forward.links[0]])
        return 4.0 * _TRAINING * alive
    sizes = sorted((_elements(forward.shapes[name]) for node in forward.nodes for name in node.output), reverse=True)
    return 4.0 * sum(sizes[:3]) * (1.5 if kind == "statistics" else 1.0)


def _elements(shape: Sequence[int | None]) -> float:
    return float(np.prod([size for size in shape if size])) if shape and shape[0] is None else 0.0


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
    pixels = np.random.default_rng(0).integers(0, 256, (_CHECKED_IMAGES, *forward.image_shape), dtype=np.uint8)
    check_forward(chain, pixels, _normalised(pixels, mean, std), _open(graphs["forward"], forward))
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
        blocks[block] = {"parameters": made[1].parameters, "statistics": made[1].statistics}
    front = chain.links[0]
    try:
        kept = card.moments if card is not None and card.moments and card.moments.neighbourhood == SIDE else None
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
) -> tuple[dict[str, bytes], Trained]:
    optimizer = AdamW()
    step, trained = training_step(forward, block, parameters_of(chain, block), optimizer)
    graphs = {
        f"prefix.{block}": inference.prefix(forward, block, mean, std),
        f"step.{block}": step,
        f"evaluate.{block}": evaluation(forward, block, trained),
    }
    features = _open(graphs[f"prefix.{block}"], forward)(pixels=pixels)["features"]
    labels = np.arange(len(pixels), dtype=np.int64) % chain.num_classes
    options = {"betas": optimizer.betas, "eps": optimizer.epsilon, "weight_decay": optimizer.weight_decay}
    check_steps(chain, block, trained, _open(step, forward), features, labels, options)
    return graphs, trained


def parameters_of(chain: BlockChain, block: str) -> list[str]:
    """State-dict keys of a link's parameters."""
    name_of = {id(parameter): name for name, parameter in chain.named_parameters()}
    keys = [name_of[id(p)] for module in chain.modules_of([block]) for p in module.parameters(recurse=False)]
    return list(dict.fromkeys(keys))


def _head_keys(chain: BlockChain) -> dict[str, str] | None:
    """State-dict keys of a linear head's weight and bias; ``None`` if the head is something else."""
    head = chain.head
    if not isinstance(head, torch.nn.Linear) or head.bias is None:
        return None
    name_of = {id(parameter): name for name, parameter in chain.named_parameters()}
    return {"weight": name_of[id(head.weight)], "bias": name_of[id(head.bias)]}


def _normalised(pixels: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    by_channel = (1, -1, 1, 1)
    mean_of, std_of = (torch.tensor(value, dtype=torch.float32).reshape(by_channel) for value in (mean, std))
    return (torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255 - mean_of) / std_of


def _open(graph: bytes, forward: Forward) -> Session:
    return Runtime(1).open(graph, forward.weights, weights_in(graph, forward))


def weights_in(graph: bytes, forward: Forward) -> list[str]:
    """Names of the weights that a graph reads."""
    import onnx

    initializers = onnx.load_from_string(graph).graph.initializer
    return [tensor.name for tensor in initializers if tensor.name in forward.weights]


def _code() -> Iterator[tuple[str, bytes]]:
    """The device's modules as members of a zipapp."""
    for name in MODULES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise BadInput(f"the module {name} is missing from this installation of tbft: install it again")
        is_package = spec.submodule_search_locations is not None
        yield from _module(name.replace(".", "/") + ("/__init__.py" if is_package else ".py"), Path(spec.origin))
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        folder = Path(spec.origin).parent
        for file in sorted(folder.rglob("*.py")):
            yield from _module(f"{name.replace('.', '/')}/{file.relative_to(folder).as_posix()}", file)


def _module(name: str, file: Path) -> Iterator[tuple[str, bytes]]:
    """A module's source, and it compiled for this release of Python; others compile the source on every start."""
    yield name, file.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compiled = py_compile.compile(
            str(file), str(Path(folder) / "module.pyc"), dfile=name, doraise=True, invalidation_mode=mode
        )
        assert compiled is not None
        yield f"{name}c", Path(compiled).read_bytes()


def _zip(members: Mapping[str, bytes]) -> bytes:
    """A zip file behind the line that lets a shell run it; the same bytes for the same members."""
    content = io.BytesIO()
    content.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(content, "a") as archive:
        for name, member in members.items():
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            stored = name.endswith(".safetensors")  # weights hardly shrink, and are read each time
            entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(entry, member)
    return content.getvalue()
