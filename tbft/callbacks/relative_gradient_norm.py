"""Auto-RGN: fine-tuning without a choice of block, with learning rates in proportion to relative gradient norms."""

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

    At the start of each epoch every trained tensor except BatchNorm's gets a weight between 0 and 1: the norm of its
    gradient divided by its own norm, relative to the largest such ratio. Its learning rate is the optimiser's times
    that weight. BatchNorm's scales and shifts do not train, as in the authors' code.

    The weights scale the optimiser's steps and not the learning rates of its parameter groups, so they work with any
    learning-rate schedule. Both are equivalent where steps are proportional to the learning rate, as in SGD, Adam and
    AdamW.

    It works in any LightningModule that classifies with cross-entropy.

    Args:
        batches: number of training batches over which the ratio is averaged (the authors take 5).
        network: network inside the LightningModule: path of an attribute, or a chain that ``chain_of`` made of it.
            ``None`` is the module's only child that has parameters.
        images: function that returns the images of a batch, as the network takes them.
        labels: function that returns the labels ``(N,)`` of a batch.

    Attributes:
        weights: weight of each tensor in this epoch, by name.
        before: each trained tensor, its value before the present step, and its weight.
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
        """Compute the weights of the tensors for this epoch."""
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
        """Remember the values of the tensors before the step."""
        network = find_network(pl_module, self.network)
        trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        self.before = [(p, p.detach().clone(), self.weights.get(name, 0.0)) for name, p in trained]

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Scale the step of each tensor by its weight."""
        for parameter, start, weight in self.before:
            parameter.copy_(start.lerp(parameter, weight))
        self.before = []


def relative_gradient_norms(
    network: nn.Module, batches: Iterable[T], loss_of: Callable[[T], Tensor]
) -> dict[str, float]:
    """Return ``||gradient|| / ||tensor||`` of the trained tensors except BatchNorm's, scaled so that the largest is 1.

    The ratios are averaged over batches. The network runs in inference mode, so its statistics do not change.

    Args:
        network: the network.
        batches: batches to compute gradients on.
        loss_of: function that returns the loss of the network on a batch, a scalar.

    Returns:
        Weight between 0 and 1 of each tensor by its name; all 0 if every gradient is zero.
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
    """Return ``count`` training batches of an epoch, and a function that returns the loss on a batch."""
    assert data.train is not None
    device = next(classifier.parameters()).device
    generator = torch.Generator().manual_seed(data.seed * 100_003 + epoch)
    chosen = torch.randperm(len(data.train), generator=generator).split(data.batch_size)[:count]
    batches = [data.train.__getitems__(part.tolist()) for part in chosen]

    def loss_of(batch: Batch) -> Tensor:
        return F.cross_entropy(classifier(batch._replace(x=batch.x.to(device))), batch.y.to(device))

    return batches, loss_of


def _ratio(gradient: Tensor, tensor: nn.Parameter) -> Tensor:
    """Return the relative gradient norm of a tensor; 0 for an all-zero tensor."""
    norm = tensor.detach().norm()
    return torch.where(norm > 0, gradient.norm() / norm, 0.0)
