"""Features: the outputs of the frozen prefix, which enter the target block or the head."""

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
    """Return the features ``(N, ...)`` of all examples, in their order: the outputs of the links before ``stop``.

    Args:
        classifier: the classifier, in the modes that the features need (inference, except to estimate statistics).
        examples: images.
        stop: link at which to stop; it does not run.
        batch_size: images in one forward pass.
        reserve: function ``(like, count)`` that returns a tensor for ``count`` features like ``like``; by default one
            in memory.
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
