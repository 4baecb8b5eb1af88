"""The head in closed form: features once, then a convex problem that is solved, not trained."""

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
    """A linear head and how it was chosen.

    Attributes:
        layer: F features to C logits.
        penalty: the penalty chosen, relative to the mean variance of a feature summed over the images.
        right: which validation images it gets right ``(N,)``, boolean.
    """

    layer: nn.Linear
    penalty: float
    right: Tensor

    @property
    def accuracy(self) -> float:
        """On the validation images, a fraction of 1."""
        return int(self.right.sum()) / len(self.right)


@torch.no_grad()
def solve_head(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    num_classes: int,
    penalties: Sequence[float] = PENALTIES,
) -> SolvedHead:
    """Ridge regression onto one-hot labels, the penalty and the scale of the logits chosen on validation.

    The scale, which no prediction depends on, makes the logits fit for a softmax: it is the power of two
    with the lowest cross-entropy.

    Args:
        train: features ``(N, F)`` and labels ``(N,)``.
        validation: likewise.
        num_classes: C.
        penalties: strengths to choose from.
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
        if best is None or right.sum() > best[2].sum():  # of equals the strongest penalty
            best = layer, chosen, right
    assert best is not None
    layer, penalty, right = best
    logits = layer(val_x)
    scale = min(_SCALES, key=lambda factor: F.cross_entropy(factor * logits, val_y).item())
    for parameter in layer.parameters():
        parameter.mul_(scale)
    return SolvedHead(layer, penalty, right)
