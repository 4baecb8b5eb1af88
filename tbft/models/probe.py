"""What a network says of one fixed image: its file has it, and whoever builds the network again can tell another one.

Keys and shapes of weights do not tell everything: a ResNet without its pooling, with other strides or another
activation has those of the ResNet that is built by its name.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor

from tbft.models.chain import BlockChain
from tbft.models.statistics import inference_mode_of
from tbft.own_state import own_modes

KEY = "probe"
"""In a file's metadata."""

TOLERANCE = 0.01
"""Largest difference, relative to the largest logit, that another processor's arithmetic explains."""


def probe(chain: BlockChain, image_size: int | None = None) -> Tensor:
    """Logits of one image that is the same everywhere ``(num_classes,)``, in inference mode.

    Args:
        chain: the network.
        image_size: side of the image, in pixels; ``None`` is the network's own.
    """
    side = image_size or chain.image_size
    device = next(chain.parameters()).device
    with own_modes(), torch.no_grad(), inference_mode_of(chain):
        values = torch.arange(chain.channels * side * side, dtype=torch.float64)
        image = (values.sqrt() * 7).sin().float().view(1, chain.channels, side, side)
        logits: Tensor = chain(image.to(device))
    return logits[0].float().cpu()


def to_text(logits: Tensor) -> str:
    """As a weights file has them."""
    return json.dumps([round(value, 6) for value in logits.tolist()])


def agrees(chain: BlockChain, expected: tuple[float, ...], image_size: int | None) -> bool:
    """Whether a network says of the image what another one said."""
    try:
        found = probe(chain, image_size)
    except RuntimeError:  # made for images of another size
        return True
    then = torch.tensor(expected, dtype=torch.float32)
    return found.shape == then.shape and bool((found - then).abs().max() <= TOLERANCE * then.abs().max())
