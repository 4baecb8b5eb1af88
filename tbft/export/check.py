"""Whether the graphs compute what torch computes; a bundle that does not is not written."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tbft.device.runtime import Session
from tbft.errors import BadInput
from tbft.export.training import TrainedKeys
from tbft.models.chain import BlockChain

_PATCHES = 4
"""Along each side of an image."""

STEPS = 20
"""Of training that are compared."""

RATE = 1e-5
"""Learning rate of these steps. At a higher one a few images are soon learnt, gradients become rounding errors, and
AdamW makes full steps of these."""

_FORWARD = 1e-3
"""Largest difference of an output, relative to its largest number."""

_LIMITS = {"gradient": 1e-3, "parameters": 2e-2, "statistics": 2e-2}
"""Largest differences: of a parameter's first gradient relative to its largest number; of what ``STEPS`` steps made of
all parameters, or of all running statistics, relative to how far they went (Euclidean)."""

_DRAWS = 3
"""Of features, of which one has to agree."""

_ROUNDING = 3.0
"""How much further from float64 than torch in float32 the graph may be."""


def check_images(count: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Images of random patches, ``(N, C, H, W)``.

    They differ from each other at all scales. Networks see images of independent pixels as nearly one and the same:
    BatchNorm by the batch then divides by next to nothing, and rounding errors become large differences.
    """
    channels, rows, columns = shape
    patches = np.random.default_rng(0).integers(0, 256, (count, channels, _PATCHES, _PATCHES), dtype=np.uint8)
    places = [np.arange(size) * _PATCHES // size for size in (rows, columns)]
    return patches[:, :, places[0][:, None], places[1]]


def check_forward(chain: BlockChain, pixels: NDArray[np.uint8], images: Tensor, session: Session) -> None:
    """Compare features and logits in inference mode.

    Raises:
        BadInput: if they differ, or are not finite.
    """
    found = session(pixels=pixels)
    chain.eval()
    with torch.no_grad():
        features = chain(images, stop="fc")
        expected = {"features": features, "logits": chain(features, start="fc")}
    for name, tensor in expected.items():
        off = _relative(found[name], tensor.numpy())
        if not off <= _FORWARD:
            raise BadInput(
                f"onnxruntime makes other {name} of this network than torch (relative difference {off:.1e}): "
                "it is not exported"
            )


def check_prefix(chain: BlockChain, block: str, pixels: NDArray[np.uint8], images: Tensor, session: Session) -> None:
    """Compare what enters a block in inference mode.

    Raises:
        BadInput: if it differs, or is not finite.
    """
    chain.eval()
    with torch.no_grad():
        expected = chain(images, stop=block).numpy()
    off = _relative(session(pixels=pixels)["features"], expected)
    if not off <= _FORWARD:
        raise BadInput(f"onnxruntime makes other inputs of {block} than torch (relative difference {off:.1e})")


def check_training(
    chain: BlockChain,
    block: str,
    trained: TrainedKeys,
    session: Session,
    shape: Sequence[int | None],
    labels: NDArray[np.int64],
    options: Mapping[str, Any],
) -> None:
    """Compare the steps of a block, as ``check_steps``, on independent normal numbers.

    A network's own features are one and the same for all images where its weights or statistics are not yet trained,
    and the gradients of such a batch are nothing but rounding errors. Of a million numbers one comes to lie so near to
    the edge of a ReLU, or to another candidate of a maximum, that rounding decides where its gradient goes: that is
    chance, and another draw shows it.

    Args:
        chain: the network; it stays as it is.
        block: that is trained.
        trained: what stands in the graph's vectors.
        session: the step's graph.
        shape: of what enters the block, ``(N, ...)``.
        labels: ``(N,)``.
        options: of ``torch.optim.AdamW``.

    Raises:
        BadInput: naming the parameter that differs most, if every draw differs.
    """
    for draw in range(_DRAWS):
        normal = np.random.default_rng(draw).standard_normal
        features = normal((len(labels), *(size or 1 for size in shape[1:])), np.float32)
        try:
            check_steps(chain, block, trained, session, features, labels, options)
        except BadInput:
            if draw == _DRAWS - 1:
                raise
        else:
            return


def check_steps(
    chain: BlockChain,
    block: str,
    trained: TrainedKeys,
    session: Session,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    options: Mapping[str, Any],
) -> None:
    """Train a block by ``STEPS`` steps of AdamW in both, and compare gradients, parameters and running statistics.

    AdamW divides a gradient by its own size: where it is nothing but rounding errors, single weights go different ways.
    So the first gradient is compared number by number, and what many steps made of it as a whole. Deep networks with
    small features enlarge rounding errors by far: where the two differ, both are held against torch in float64, and
    the graph may not be much further from that than torch in float32 is.

    Args:
        chain: the network; it stays as it is.
        block: that is trained.
        trained: what stands in the graph's vectors.
        session: the step's graph.
        features: what enters the block ``(N, ...)``.
        labels: ``(N,)``.
        options: of ``torch.optim.AdamW``.

    Raises:
        BadInput: naming the parameter that differs most.
    """
    orders = [np.random.default_rng(step).permutation(len(labels)) for step in range(STEPS)]
    expected = train_in_torch(chain, block, trained, features, labels, orders, options)
    found = _train_in_onnx(chain, trained, session, features, labels, orders)
    off, limits = _differences(chain, trained, found, expected), _LIMITS
    if any(not off[what][0] <= limit for what, limit in limits.items()):
        double = copy.deepcopy(chain).double()
        try:
            exact = train_in_torch(double, block, trained, features.astype(np.float64), labels, orders, options)
        except RuntimeError:  # a network that insists on float32
            exact = expected
        off, own = (_differences(chain, trained, made, exact) for made in (found, expected))
        limits = {what: max(limit, _ROUNDING * own[what][0]) for what, limit in limits.items()}
    for what, (share, key) in off.items():
        if share <= limits[what]:
            continue
        if what == "gradient":
            raise BadInput(
                f"the gradient of {key} is another one in onnxruntime than in torch (relative difference {share:.1e})"
            )
        raise BadInput(
            f"after {STEPS} steps the {what} are others in onnxruntime than in torch, {key} above all "
            f"({100 * share:.1f} % of the way)"
        )


def _train_in_onnx(
    chain: BlockChain,
    trained: TrainedKeys,
    session: Session,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    orders: Sequence[NDArray[np.int64]],
) -> dict[str, NDArray[np.float32]]:
    """As ``train_in_torch``, by a step's graph."""
    state = chain.state_dict()
    keys = {"parameters": trained.parameters, "statistics": trained.statistics}
    vectors = {name: _vector(state, own) for name, own in keys.items() if own}
    moments = {name: np.zeros_like(vectors["parameters"]) for name in ("moment1", "moment2")}
    first = moments["moment1"]
    for number, order in enumerate(orders, 1):
        made = session(
            **vectors,
            **moments,
            features=features[order],
            labels=labels[order],
            rate=np.array(RATE),
            step=np.array(float(number)),
        )
        vectors = {name: made[f"new_{name}"] for name in vectors}
        moments = {name: made[f"new_{name}"] for name in moments}
        if number == 1:
            first = moments["moment1"]  # a sum of one
    return {**vectors, "first": first}


def train_in_torch(
    chain: BlockChain,
    block: str,
    trained: TrainedKeys,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    orders: Sequence[NDArray[np.int64]],
    options: Mapping[str, Any],
    rate: float = RATE,
) -> dict[str, NDArray[np.float32]]:
    """What torch makes of a block by one step of AdamW for each order of the images; the chain stays as it is.

    Returns:
        ``parameters`` and ``statistics`` as vectors, and ``first``: the first gradient.
    """
    chain = copy.deepcopy(chain)
    training_modes(chain, block)
    named = dict(chain.named_parameters())
    for name, parameter in named.items():
        parameter.requires_grad_(name in trained.parameters)
    own = [named[name] for name in trained.parameters]
    optimizer = torch.optim.AdamW(own, lr=rate, **options)
    first: NDArray[np.float32] | None = None
    for order in orders:
        x, y = torch.from_numpy(features[order]), torch.from_numpy(labels[order])
        optimizer.zero_grad()
        F.cross_entropy(chain(x, start=block), y).backward()
        optimizer.step()
        if first is None:
            first = np.concatenate([(torch.zeros_like(p) if p.grad is None else p.grad).numpy().ravel() for p in own])
    assert first is not None
    state = chain.state_dict()
    return {
        "parameters": _vector(state, trained.parameters),
        "statistics": _vector(state, trained.statistics),
        "first": first,
    }


def training_modes(chain: BlockChain, block: str) -> None:
    """The modes in which the graphs train: BatchNorm of the block by the batch; all else as in inference."""
    chain.eval()
    for module in chain.modules_of([block]):
        if isinstance(module, _BatchNorm):
            module.train()


def _differences(
    chain: BlockChain,
    trained: TrainedKeys,
    mine: Mapping[str, NDArray[np.float32]],
    theirs: Mapping[str, NDArray[np.float32]],
) -> dict[str, tuple[float, str]]:
    """How far two trainings are from each other, as ``_LIMITS`` counts it, and the tensor that differs most."""
    state, place, largest = chain.state_dict(), 0, float(np.abs(theirs["first"]).max())
    gradients = []
    for key in trained.parameters:
        piece = slice(place, place + state[key].numel())
        # Where a gradient is zero but for rounding, the largest one of all is the measure.
        unit = max(float(np.abs(theirs["first"][piece]).max()), 1e-3 * largest, 1e-30)
        gradients.append((float(np.abs(mine["first"][piece] - theirs["first"][piece]).max()) / unit, key))
        place = piece.stop
    found = {"gradient": max(gradients, key=lambda pair: (np.isnan(pair[0]), pair[0]))}
    for name, keys in (("parameters", trained.parameters), ("statistics", trained.statistics)):
        found[name] = (0.0, "")
        if keys:
            way, off = theirs[name] - _vector(state, keys), mine[name] - theirs[name]
            ends = np.cumsum([state[key].numel() for key in keys])
            key = keys[int(np.searchsorted(ends, np.abs(off).argmax(), side="right"))]
            found[name] = (float(np.linalg.norm(off)) / max(float(np.linalg.norm(way)), 1e-12), key)
    return found


def _relative(mine: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    return float(np.abs(mine - theirs).max()) / max(float(np.abs(theirs).max()), 1e-6)


def _vector(state: Mapping[str, Tensor], keys: Sequence[str]) -> NDArray[np.float32]:
    if not keys:
        return np.zeros(0, np.float32)
    return np.concatenate([state[key].detach().numpy().ravel() for key in keys])
