"""Outputs of the frozen prefix: what enters the target block, or the head."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tbft.data.batches import Examples
from tbft.models.classifier import Classifier
from tbft.progress import with_bar


@torch.no_grad()
def features_of(
    classifier: Classifier,
    examples: Examples,
    stop: str,
    batch_size: int = 128,
    reserve: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor:
    """Outputs of the links before ``stop`` for all examples, in their order ``(N, ...)``.

    Args:
        classifier: the classifier, in inference mode.
        examples: images.
        stop: link before which to end.
        batch_size: images in one forward pass.
        reserve: makes room for so many features like the given ones; by default in memory.
    """
    kept: Tensor | None = None
    position, device = 0, next(classifier.parameters()).device
    loader = examples.loader(batch_size)
    for batch in with_bar(loader, len(loader), f"computing the features of {len(examples)} images"):
        y = classifier(batch._replace(x=batch.x.to(device)), stop=stop)
        if kept is None:
            kept = reserve(y, len(examples)) if reserve else y.new_empty((len(examples), *y.shape[1:]))
        kept[position : position + len(y)] = y
        position += len(y)
    assert kept is not None
    return kept
