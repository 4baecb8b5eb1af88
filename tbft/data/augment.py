"""The usual augmentation of small pictures, applied to a batch at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def crop_and_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each picture by up to an eighth of its side (4 px at 32 px, zeros move in) and flip half of them.

    Args:
        x: normalised pictures ``(N, C, H, W)``.
        generator: random number generator of the shifts and flips.

    Returns:
        A new tensor of the same shape.
    """
    return _crop(_flip(x, generator), generator)


def crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift pictures as ``crop_and_flip`` does but flip none, for those whose mirror image differs, such as digits."""
    return _crop(x, generator)


def _flip(x: Tensor, generator: torch.Generator) -> Tensor:
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(mirrored.to(x.device).view(-1, 1, 1, 1), x.flip(3), x)


def _crop(x: Tensor, generator: torch.Generator) -> Tensor:
    n, c, h, w = x.shape
    pad = max(h // 8, 1)
    padded = F.pad(x, (pad, pad, pad, pad))
    top = torch.randint(0, 2 * pad + 1, (n, 1), generator=generator).to(x.device)
    left = torch.randint(0, 2 * pad + 1, (n, 1), generator=generator).to(x.device)
    rows = (top + torch.arange(h, device=x.device)).view(n, 1, h, 1)
    columns = (left + torch.arange(w, device=x.device)).view(n, 1, 1, w)
    picture = torch.arange(n, device=x.device).view(n, 1, 1, 1)
    channel = torch.arange(c, device=x.device).view(1, c, 1, 1)
    return padded[picture, channel, rows, columns]
