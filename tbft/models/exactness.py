"""Check that a chain computes the same as its network: outputs, gradients and BatchNorm statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tbft.errors import BadInput

OUTPUTS, GRADIENTS = 1e-6, 1e-5
"""Largest difference of outputs and of gradients that counts as equal, relative to the largest value of the tensor."""
_SMALL = 1e-3
"""Least reference value for differences of gradients, as a share of the largest gradient of all tensors."""


@dataclass(frozen=True)
class Result:
    """Result of one forward and backward pass of a network in one mode.

    Attributes:
        output: logits ``(N, num_classes)``.
        gradients: gradients of a weighted sum of the logits, by name of the parameter; ``images`` for the images.
        buffers: buffers after the pass, by name.
    """

    output: Tensor
    gradients: dict[str, Tensor]
    buffers: dict[str, Tensor]


def check_chain(chain: nn.Module, network: nn.Module, images: Tensor) -> None:
    """Compare a chain with its network in training and in inference mode; both are left unchanged.

    Args:
        chain: chain that shares parameters and buffers with the network.
        network: the network.
        images: random images ``(N, C, H, W)``.

    Raises:
        BadInput: if they differ, or the network has no gradients.
    """
    name = type(network).__name__
    with _as_they_were(chain, network, images.device):
        for training in (False, True):
            try:
                expected = _run(network, network, images, training)
            except RuntimeError as error:
                reason = str(error).splitlines()[0][:160]
                raise BadInput(f"{name} has no gradients in {_mode(training)} ({reason}): mend its forward") from None
            try:
                differing = _difference(expected, _run(chain, network, images, training))
                why = f"its {differing} differ"
            except RuntimeError as error:  # as with modules named by hand that do not fit together
                differing = why = f"it fails with {str(error).splitlines()[0][:120]}"
            if differing:
                raise BadInput(
                    f"{name} as a chain of blocks is another network ({why} in {_mode(training)}): name the modules of "
                    "each block by hand (blocks=)"
                )


def count_classes(network: nn.Module, images: Tensor) -> int:
    """Return the number of classes of a network.

    Args:
        network: the network.
        images: images to run it on ``(N, C, H, W)``.

    Raises:
        BadInput: if the network fails on such images, or does not return finite logits ``(N, num_classes)`` in both
            modes.
    """
    name, classes = type(network).__name__, 0
    with _as_they_were(network, network, images.device), torch.no_grad():
        for training in (True, False):
            try:
                with _buffers_kept(network):
                    output = network.train(training)(images.clone())
            except Exception as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
                raise BadInput(
                    f"{name} fails on images of {images.shape[1]} channels and {images.shape[-1]} px in "
                    f"{_mode(training)} ({reason}): give the image_size that it is made for"
                ) from None
            if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != len(images):
                what = f"{tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
                raise BadInput(
                    f"{name} gives {what} in {_mode(training)} and no logits (N, num_classes): give a classifier"
                )
            classes = output.shape[1]
        if not output.isfinite().all():
            raise BadInput(f"{name} gives logits that are not finite: its weights are broken, give others")
        if classes < 2:
            raise BadInput(
                f"{name} gives one number an image and no logit for each class: give a network with two outputs, in "
                "whose last layer 0 and w, and 0 and b, take the place of its weight w and bias b"
            )
        if output.min() >= 0 and (output.sum(1) - 1).abs().max() < 1e-4:
            raise BadInput(
                f"{name} gives probabilities and no logits: give it without the softmax behind its last layer"
            )
    return classes


def _mode(training: bool) -> str:
    return "training" if training else "inference"


def _run(module: nn.Module, network: nn.Module, images: Tensor, training: bool) -> Result:
    """Run one forward and backward pass, always from the same buffers and random numbers.

    Args:
        module: chain or network to run.
        network: network whose parameters and buffers are read.
        images: ``(N, C, H, W)``.
        training: whether to run in training mode.
    """
    module.train(training)
    torch.manual_seed(0)
    leaf = images.clone().requires_grad_()
    parameters = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    with _buffers_kept(network):
        output = module(leaf * 1)  # a copy, as a network may overwrite its input
        after = {name: buffer.clone() for name, buffer in network.named_buffers()}
        weights = torch.linspace(-1, 1, output.numel(), device=output.device, dtype=output.dtype).view_as(output)
        gradients = torch.autograd.grad((output * weights).sum(), [leaf, *parameters.values()], allow_unused=True)
    named = dict(zip(["images", *parameters], gradients, strict=True))
    return Result(output.detach(), {name: g for name, g in named.items() if g is not None}, after)


def _difference(expected: Result, found: Result) -> str:
    """Return in words what differs; empty if nothing does."""
    if not _close(expected.output, found.output, OUTPUTS):
        return "outputs"
    if expected.gradients.keys() != found.gradients.keys():
        return "gradients"
    largest = max((float(g.abs().max()) for g in expected.gradients.values() if g.numel()), default=0.0)
    for name, gradient in expected.gradients.items():
        if not _close(gradient, found.gradients[name], GRADIENTS, least=_SMALL * largest):
            return f"gradients ({name})"
    for name, buffer in expected.buffers.items():
        if not _close(buffer.double(), found.buffers[name].double(), OUTPUTS):
            return f"BatchNorm statistics ({name})"
    return ""


def _close(a: Tensor, b: Tensor, tolerance: float, least: float = 0.0) -> bool:
    if a.shape != b.shape:
        return False
    if torch.equal(a, b) or not a.numel():
        return True
    scale = max(float(a.abs().max()), least)
    return float((a - b).abs().max()) <= tolerance * scale


@contextmanager
def _buffers_kept(network: nn.Module) -> Iterator[None]:
    """Restore the buffers at the end: the same tensors with the same values."""
    kept = [(module._buffers, dict(module._buffers)) for module in network.modules()]
    values = [(buffer, buffer.clone()) for _, buffers in kept for buffer in buffers.values() if buffer is not None]
    try:
        yield
    finally:
        for table, buffers in kept:
            table.clear()
            table.update(buffers)
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)


@contextmanager
def _as_they_were(chain: nn.Module, network: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore modes and random number generators at the end."""
    modes = [(module, module.training) for root in (chain, network) for module in root.modules()]
    devices = [device] if device.type != "cpu" else []
    try:
        with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"), torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
