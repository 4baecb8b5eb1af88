"""The head in closed form: features once, then a convex problem that is solved, not trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
_SCALES = tuple(2.0**power for power in range(7))


class SolvedHead(NamedTuple):
    """A linear head and how it was chosen.

    Attributes:
        layer: F features to C logits.
        penalty: the penalty chosen, relative to the mean variance of a feature summed over the images.
        accuracy: on the validation images, a fraction of 1.
    """

    layer: nn.Linear
    penalty: float
    accuracy: float


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
    from sklearn.linear_model import Ridge

    x, y = train[0].double().cpu(), train[1].cpu()
    val_x, val_y = validation[0].float(), validation[1].to(validation[0].device)
    targets = F.one_hot(y, num_classes).double().numpy()
    strength = float(x.var(0).mean().clamp_min(1e-12)) * len(x)
    best: SolvedHead | None = None
    for penalty in sorted(penalties, reverse=True):  # of equals the strongest
        ridge = Ridge(alpha=penalty * strength, solver="cholesky").fit(x.numpy(), targets)
        layer = nn.Linear(x.shape[1], num_classes)
        layer.weight.data = torch.from_numpy(ridge.coef_).float().contiguous()
        layer.bias.data = torch.from_numpy(ridge.intercept_).float()
        layer = layer.to(val_x.device)
        with torch.no_grad():
            accuracy = (layer(val_x).argmax(1) == val_y).float().mean().item()
        if best is None or accuracy > best.accuracy:
            best = SolvedHead(layer, penalty, accuracy)
    assert best is not None
    with torch.no_grad():
        logits = best.layer(val_x)
        scale = min(_SCALES, key=lambda factor: F.cross_entropy(factor * logits, val_y).item())
        for parameter in best.layer.parameters():
            parameter.mul_(scale)
    return best
