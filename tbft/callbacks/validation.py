"""Score a network in the trainer's own validation, from the outputs that it gives there."""

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
    """Scores a network on the images of a validation pass, from the logits that it gives in the validation steps.

    Args:
        labels: function that returns the labels ``(N,)`` of a batch.

    Raises:
        BadInput: in ``end_batch``, if the network did not run exactly once on the batch, or did not give logits for as
            many images as there are labels.
    """

    def __init__(self, labels: Callable[[Any], Tensor]) -> None:
        self.labels = labels
        self._tally = Tally()
        self._outputs: list[Any] = []
        self._handle: RemovableHandle | None = None
        self._order: Tensor | None = None

    def begin(self, network: nn.Module) -> None:
        """Start a validation pass: collect the network's outputs from now on."""
        self.end()
        self._tally = Tally()
        self._handle = network.register_forward_hook(lambda module, inputs, output: self._outputs.append(output))

    def begin_batch(self) -> None:
        """Discard outputs from before this batch."""
        self._outputs = []

    @torch.no_grad()
    def end_batch(self, batch: Any) -> None:
        """Add the network's outputs on a batch to the tally.

        Raises:
            BadInput: if the network gave no logits, or the labels of the batch are not one class index per image.
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
        """End the pass: collect no more outputs."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def score(self) -> Score:
        """Return the score over all images of the pass, with those of other processes.

        Raises:
            BadInput: if the images come in another order than in the pass before; scores are compared image by image.
        """
        labels = self._tally.labels.cpu()
        if self._order is not None and not torch.equal(labels, self._order):
            raise BadInput("the validation images come in another order each time: do not shuffle their dataloader")
        self._order = labels
        return _joined(self._tally.score(), labels)


def _joined(score: Score, labels: Tensor) -> Score:
    """Return the score over all processes, whether each had its share of the images or all of them."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return score
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, (*score, labels))
    if all(_same_images(part, parts[0]) for part in parts):
        return Score(*parts[0][:2])
    right = torch.cat([part[1] for part in parts])
    return Score(sum(loss * len(mine) for loss, mine, _ in parts) / len(right), right)


def _same_images(part: tuple[float, Tensor, Tensor], other: tuple[float, Tensor, Tensor]) -> bool:
    """Return whether two processes saw the same images, judged by losses, right predictions and labels."""
    close = math.isclose(part[0], other[0], rel_tol=1e-6)
    return close and all(torch.equal(a, b) for a, b in zip(part[1:], other[1:], strict=True))
