"""Check that batches are large enough for BatchNorm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from tbft.data.labelled import LabelledData
from tbft.errors import BadInput
from tbft.models.classifier import Classifier
from tbft.models.statistics import inference_mode_of


def check_batches(classifier: Classifier, data: LabelledData, links: Sequence[str]) -> None:
    """Refuse batches of one image where a BatchNorm would see a single number per channel, which has no variance.

    Args:
        classifier: the classifier.
        data: opened data.
        links: links whose BatchNorms may use batch statistics.

    Raises:
        BadInput: if there is such a BatchNorm.
    """
    assert data.train is not None
    if min(data.batch_size, len(data.train)) > 1:
        return
    shapes: list[torch.Size] = []
    norms = [part for part in classifier.model.modules_of(links) if isinstance(part, _BatchNorm)]
    hooks = [norm.register_forward_pre_hook(lambda _, entering: shapes.append(entering[0].shape)) for norm in norms]
    image = data.train.__getitems__([0])
    try:
        with inference_mode_of(classifier.model), torch.no_grad():
            classifier(image._replace(x=image.x.to(next(classifier.parameters()).device)))
    finally:
        for hook in hooks:
            hook.remove()
    if any(shape.numel() == shape[1] for shape in shapes):
        found = "data.batch_size is 1" if data.batch_size == 1 else "one image trains"
        raise BadInput(f"{found} and a BatchNorm of this network then sees one number a channel: give at least 2")
