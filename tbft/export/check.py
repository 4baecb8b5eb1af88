"""Check that graphs compute what torch computes; a graph that does not is left out or ends the export."""

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
"""Number of patches along each side of an image."""

STEPS = 20
"""Number of training steps that are compared."""

RATE = 1e-5
"""Learning rate of these steps. With a higher one a few images are soon learnt, gradients become rounding errors, and
AdamW turns these into full steps."""

_FORWARD = 1e-3
"""Largest allowed difference of an output, relative to its largest number."""

_LIMITS = {"gradient": 1e-3, "parameters": 2e-2, "statistics": 2e-2}
"""Largest allowed differences: of a parameter's first gradient, relative to its largest number; of all parameters, or
all running statistics, after ``STEPS`` steps, relative to the distance that they moved (Euclidean)."""

_DRAWS = 3
"""Number of draws of random features, of which one has to agree."""

_ROUNDING = 3.0
"""Allowed error of the graph against torch in float64, as a multiple of the error of torch in float32."""


def check_images(count: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Make ``count`` images of random patches, ``(N, C, H, W)``; they are the same in every call.

    Such images differ from each other at all scales. Images of independent random pixels look nearly the same to a
    network: BatchNorm in training mode then divides by almost zero, and rounding errors become large differences.
    """
    channels, rows, columns = shape
    patches = np.random.default_rng(0).integers(0, 256, (count, channels, _PATCHES, _PATCHES), dtype=np.uint8)
    places = [np.arange(size) * _PATCHES // size for size in (rows, columns)]
    return patches[:, :, places[0][:, None], places[1]]


def check_forward(chain: BlockChain, pixels: NDArray[np.uint8], images: Tensor, session: Session) -> None:
    """Compare a graph's features and logits in inference mode with torch's.

    Args:
        chain: network in torch.
        pixels: images ``(N, C, H, W)``, uint8, for the graph.
        images: same images, normalised, for torch.
        session: graph of the whole network.

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
    """Compare the input of a block that the prefix's graph makes in inference mode with torch's; see ``check_forward``.

    Raises:
        BadInput: if they differ, or are not finite.
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
    """Compare the training of a block with torch's, as ``check_steps`` does, on features of independent normal numbers.

    The network's own features would be the same for all images if its weights or statistics are not trained yet, and
    the gradients of such a batch are only rounding errors. In a million numbers one may be so close to the edge of a
    ReLU, or two to the same maximum, that rounding decides where the gradient goes. This happens by chance, so that up
    to ``_DRAWS`` draws are tried.

    Args:
        chain: network in torch; it is not changed.
        block: name of the block that trains.
        trained: state-dict keys of the tensors in the graph's vectors.
        session: graph of the training step.
        shape: shape ``(N, ...)`` of the block's input.
        labels: class indices ``(N,)``.
        options: arguments of ``torch.optim.AdamW`` besides the learning rate.

    Raises:
        BadInput: if every draw differs; the message names the parameter that differs most.
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
    """Train a block with ``STEPS`` steps of AdamW in onnxruntime and in torch, and compare the results.

    AdamW divides a gradient by its own size, so that single weights move differently where the gradient is only a
    rounding error. Therefore the first gradient is compared number by number, but parameters and running statistics
    after all steps as a whole. Deep networks with small features amplify rounding errors: if the two differ, both are
    compared with torch in float64, and the graph's error may be up to ``_ROUNDING`` times that of torch in float32.

    Args:
        chain: network in torch; it is not changed.
        block: name of the block that trains.
        trained: state-dict keys of the tensors in the graph's vectors.
        session: graph of the training step.
        features: input of the block ``(N, ...)``.
        labels: class indices ``(N,)``.
        options: arguments of ``torch.optim.AdamW`` besides the learning rate.

    Raises:
        BadInput: if the results differ; the message names the parameter that differs most.
    """
    orders = [np.random.default_rng(step).permutation(len(labels)) for step in range(STEPS)]
    expected = train_in_torch(chain, block, trained, features, labels, orders, options)
    found = _train_in_onnx(chain, trained, session, features, labels, orders)
    off, limits = _differences(chain, trained, found, expected), _LIMITS
    if any(not off[what][0] <= limit for what, limit in limits.items()):
        double = copy.deepcopy(chain).double()
        try:
            exact = train_in_torch(double, block, trained, features.astype(np.float64), labels, orders, options)
        except RuntimeError:  # the network cannot compute in float64
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
    """Train with the graph of a step, and return the same results as ``train_in_torch``."""
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
            first = moments["moment1"]  # after one step the decaying sum is the first gradient
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
    """Train a copy of a block in torch with one step of AdamW for each order (permutation) of the images.

    The other arguments are those of ``check_steps``.

    Returns:
        ``parameters`` and ``statistics`` as vectors after the steps, and the first gradient as the vector ``first``.
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
    """Set the modes in which graphs train: the block's BatchNorm in training mode, everything else in inference."""
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
    """Measure the differences of two trainings, as described for ``_LIMITS``, each with the key that differs most."""
    state, place, largest = chain.state_dict(), 0, float(np.abs(theirs["first"]).max())
    gradients = []
    for key in trained.parameters:
        piece = slice(place, place + state[key].numel())
        # A gradient that is zero except for rounding is compared with the largest gradient of all parameters.
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
