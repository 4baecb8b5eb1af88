"""Surgical fine-tuning without choosing a block: each tensor learns as fast as its relative gradient is large."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from tbft.callbacks.batches import images_of, labels_of, on_device, training_batches
from tbft.callbacks.network import by_position, find_network
from tbft.data.batches import Batch
from tbft.data.labelled import LabelledData
from tbft.models.chain import BlockChain
from tbft.models.classifier import Classifier
from tbft.models.statistics import inference_mode_of

T = TypeVar("T")


class RelativeGradientNormCallback(Callback):
    """Auto-RGN of Lee et al. 2023 (arXiv:2210.11466, section 5): automatic surgical fine-tuning.

    At the start of each epoch every trained tensor but BatchNorm's gets a weight between 0 and 1: the norm of
    its gradient over its own norm, relative to the largest such ratio. Its learning rate is the optimiser's times
    that weight. BatchNorm's scales and shifts do not train, as in the authors' code.

    The weights act on the optimiser's steps, not on its parameter groups, so that any learning-rate schedule
    stays as it is: the steps of SGD, Adam and AdamW are proportional to the learning rate.

    Works in any LightningModule that classifies with cross-entropy.

    Args:
        batches: training batches over which the ratio is averaged (the authors take 5).
        network: the network inside the LightningModule: path of an attribute, or a chain that ``chain_of`` made of it.
            ``None`` is the module's only child that has parameters.
        images: gives the images of a batch, as the network takes them.
        labels: gives the labels ``(N,)`` of a batch.

    Attributes:
        weights: weight of each tensor in this epoch, by name.
    """

    def __init__(
        self,
        batches: int = 5,
        network: str | BlockChain | None = None,
        images: Callable[[Any], Tensor] = images_of,
        labels: Callable[[Any], Tensor] = labels_of,
    ) -> None:
        self.batches, self.network, self.images, self.labels = batches, network, images, labels
        self.weights: dict[str, float] = {}
        self.before: list[tuple[Tensor, Tensor, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Weigh the tensors as they are now."""
        network = find_network(pl_module, self.network)
        if found := by_position(trainer, pl_module):
            self.weights = relative_gradient_norms(network, *_by_position(*found, trainer.current_epoch, self.batches))
            return

        def loss_of(batch: Any) -> Tensor:
            return F.cross_entropy(network(self.images(batch)).float(), self.labels(batch))

        with isolate_rng(), trainer.precision_plugin.forward_context():
            batches = islice(on_device(training_batches(trainer), trainer, pl_module), self.batches)
            self.weights = relative_gradient_norms(network, batches, loss_of)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Remember where the step begins."""
        network = find_network(pl_module, self.network)
        trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        self.before = [(p, p.detach().clone(), self.weights.get(name, 0.0)) for name, p in trained]

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Take each tensor's share of the step."""
        for parameter, start, weight in self.before:
            parameter.copy_(start.lerp(parameter, weight))
        self.before = []


def relative_gradient_norms(
    network: nn.Module, batches: Iterable[T], loss_of: Callable[[T], Tensor]
) -> dict[str, float]:
    """``||gradient|| / ||tensor||`` of what trains, BatchNorm left out, averaged over batches; the largest is 1.

    The network is in inference mode, so that measuring leaves no trace in its statistics.

    Args:
        network: the network.
        batches: to take gradients at.
        loss_of: loss of the network on a batch, a scalar.

    Returns:
        A weight between 0 and 1 by the tensor's name; all 0 where every gradient vanishes.
    """
    norms = {id(p) for m in network.modules() if isinstance(m, _BatchNorm) for p in m.parameters(recurse=False)}
    tensors = {name: p for name, p in network.named_parameters() if p.requires_grad and id(p) not in norms}
    ratios = torch.zeros(len(tensors), device=next(network.parameters()).device)
    with inference_mode_of(network), torch.enable_grad():
        for batch in batches:
            gradients = torch.autograd.grad(loss_of(batch), list(tensors.values()))
            ratios += torch.stack([_ratio(g, p) for g, p in zip(gradients, tensors.values(), strict=True)])
    ratios /= ratios.max().clamp_min(torch.finfo(ratios.dtype).tiny)
    return dict(zip(tensors, ratios.tolist(), strict=True))


def _by_position(
    classifier: Classifier, data: LabelledData, epoch: int, count: int
) -> tuple[list[Batch], Callable[[Batch], Tensor]]:
    """Training batches of this epoch, and the loss on one."""
    assert data.train is not None
    device = next(classifier.parameters()).device
    generator = torch.Generator().manual_seed(data.seed * 100_003 + epoch)
    chosen = torch.randperm(len(data.train), generator=generator).split(data.batch_size)[:count]
    batches = [data.train.__getitems__(part.tolist()) for part in chosen]

    def loss_of(batch: Batch) -> Tensor:
        return F.cross_entropy(classifier(batch._replace(x=batch.x.to(device))), batch.y.to(device))

    return batches, loss_of


def _ratio(gradient: Tensor, tensor: nn.Parameter) -> Tensor:
    """The relative norm of a tensor; all-zero tensors get 0."""
    norm = tensor.detach().norm()
    return torch.where(norm > 0, gradient.norm() / norm, 0.0)
