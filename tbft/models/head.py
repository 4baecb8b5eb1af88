"""Solve the head in closed form on features that are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tbft.remedies.ridge import Ridge

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
_SCALES = tuple(2.0**power for power in range(7))


class SolvedHead(NamedTuple):
    """A solved linear head.

    Attributes:
        layer: linear layer from F features to C logits.
        penalty: chosen penalty, in units of the mean variance of a feature times the number of images.
        right: whether each validation image is right ``(N,)``, boolean.
    """

    layer: nn.Linear
    penalty: float
    right: Tensor

    @property
    def accuracy(self) -> float:
        """Accuracy on the validation images, a fraction of 1."""
        return int(self.right.sum()) / len(self.right)


@torch.no_grad()
def solve_head(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    num_classes: int,
    penalties: Sequence[float] = PENALTIES,
) -> SolvedHead:
    """Solve a head by ridge regression of one-hot labels; choose penalty and logit scale on validation images.

    The penalty is the one with most right predictions. The scale, on which no prediction depends, makes the logits fit
    for a softmax: it is the power of two with the lowest cross-entropy.

    Args:
        train: features ``(N, F)`` and labels ``(N,)`` of the training images.
        validation: features ``(M, F)`` and labels ``(M,)`` of the validation images.
        num_classes: number of classes C.
        penalties: penalties to choose from.
    """
    x, y = train[0].double().cpu().numpy(), train[1].cpu().numpy()
    val_x, val_y = validation[0].float(), validation[1].to(validation[0].device)
    best: tuple[nn.Linear, float, Tensor] | None = None
    ridge = Ridge(x, y, num_classes)
    for chosen in sorted(penalties, reverse=True):
        solution = ridge.solve(chosen)
        layer = nn.Linear(x.shape[1], num_classes)
        layer.weight.data = torch.from_numpy(solution.weight).float().contiguous()
        layer.bias.data = torch.from_numpy(solution.bias).float()
        layer = layer.to(val_x.device)
        right = layer(val_x).argmax(1) == val_y
        if best is None or right.sum() > best[2].sum():  # of equally good penalties, the strongest
            best = layer, chosen, right
    assert best is not None
    layer, penalty, right = best
    logits = layer(val_x)
    scale = min(_SCALES, key=lambda factor: F.cross_entropy(factor * logits, val_y).item())
    for parameter in layer.parameters():
        parameter.mul_(scale)
    return SolvedHead(layer, penalty, right)
