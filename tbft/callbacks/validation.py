"""What a network makes of the validation images, heard in the trainer's own validation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tbft.adaptation.score import Tally
from tbft.errors import BadInput
from tbft.remedies.validated import Score


class ValidationScore:
    """Scores the network on the images of one validation pass, by the logits that it gives meanwhile.

    Args:
        labels: gives the labels ``(N,)`` of a batch.

    Raises:
        BadInput: if the network is not run once on each batch, or gives no logits of as many images as there are
            labels.
    """

    def __init__(self, labels: Callable[[Any], Tensor]) -> None:
        self.labels = labels
        self._tally = Tally()
        self._outputs: list[Any] = []
        self._handle: RemovableHandle | None = None
        self._order: Tensor | None = None

    def begin(self, network: nn.Module) -> None:
        """Begin to listen."""
        self.end()
        self._tally = Tally()
        self._handle = network.register_forward_hook(lambda module, inputs, output: self._outputs.append(output))

    def begin_batch(self) -> None:
        """Forget what the network said between two batches."""
        self._outputs = []

    @torch.no_grad()
    def end_batch(self, batch: Any) -> None:
        """Count what it said of a batch.

        Raises:
            BadInput: if it gave no logits, or the batch's labels are not one class index an image.
        """
        outputs, labels = self._outputs, self.labels(batch)
        self._outputs = []
        if len(outputs) != 1 or not isinstance(outputs[0], Tensor) or outputs[0].dim() != 2:
            what = "no logits (N, classes)" if len(outputs) == 1 else f"{len(outputs)} outputs"
            raise BadInput(f"the network gave {what} in a validation batch: give monitor=, a metric that decides")
        if labels.shape != outputs[0].shape[:1] or labels.is_floating_point():
            raise BadInput(
                f"a validation batch has labels of shape {tuple(labels.shape)} for {len(outputs[0])} images: give "
                "labels=, a function of a batch to class indices (N,), or monitor=, a metric that decides"
            )
        self._tally.add(outputs[0].float(), labels.to(outputs[0].device).long())

    def end(self) -> None:
        """Listen no longer."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def score(self) -> Score:
        """Of all images of the pass, those of other processes included.

        Raises:
            BadInput: if the images come in another order than in the pass before, for they are compared one by one.
        """
        labels = self._tally.labels.cpu()
        if self._order is not None and not torch.equal(labels, self._order):
            raise BadInput("the validation images come in another order each time: do not shuffle their dataloader")
        self._order = labels
        return _joined(self._tally.score(), labels)


def _joined(score: Score, labels: Tensor) -> Score:
    """The scores of all processes as one, whether they shared the images out or each had all of them."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return score
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, (*score, labels))
    if all(_same_images(part, parts[0]) for part in parts):
        return Score(*parts[0][:2])
    right = torch.cat([part[1] for part in parts])
    return Score(sum(loss * len(mine) for loss, mine, _ in parts) / len(right), right)


def _same_images(part: tuple[float, Tensor, Tensor], other: tuple[float, Tensor, Tensor]) -> bool:
    """Whether loss, right ones and labels say that two processes saw the same images."""
    close = math.isclose(part[0], other[0], rel_tol=1e-6)
    return close and all(torch.equal(a, b) for a, b in zip(part[1:], other[1:], strict=True))
