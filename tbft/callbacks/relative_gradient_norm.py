"""Surgical fine-tuning without choosing a block: each tensor learns as fast as its relative gradient is large."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from tbft.data import DomainData
from tbft.data.batches import Examples
from tbft.models.statistics import inference_mode_of
from tbft.module import ImageClassifier


class RelativeGradientNormCallback(Callback):
    """Auto-RGN of Lee et al. 2023 (arXiv:2210.11466, section 5): automatic surgical fine-tuning.

    At the start of each epoch every trained tensor but BatchNorm's gets a weight between 0 and 1: the norm of
    its gradient over its own norm, relative to the largest such ratio. Its learning rate is the optimiser's times
    that weight. BatchNorm's scales and shifts do not train, as in the authors' code.

    The weights act on the optimiser's steps, not on its parameter groups, so that any learning-rate schedule
    stays as it is: the steps of SGD, Adam and AdamW are proportional to the learning rate.

    Args:
        batches: training batches over which the ratio is averaged (the authors take 5).

    Attributes:
        weights: weight of each tensor in this epoch, by name.
    """

    def __init__(self, batches: int = 5) -> None:
        self.batches = batches
        self.weights: dict[str, float] = {}
        self.before: list[tuple[Tensor, Tensor, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Weigh the tensors as they are now."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, ImageClassifier) and isinstance(data, DomainData) and data.train is not None
        seed = data.seed * 100_003 + trainer.current_epoch
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
        chosen = order.split(data.batch_size)[: self.batches]
        self.weights = relative_gradient_norms(pl_module, data.train, [part.tolist() for part in chosen])

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Remember where the step begins."""
        assert isinstance(pl_module, ImageClassifier)
        trained = [(name, p) for name, p in pl_module.model.named_parameters() if p.requires_grad]
        self.before = [(p, p.detach().clone(), self.weights.get(name, 0.0)) for name, p in trained]

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Take each tensor's share of the step."""
        for parameter, start, weight in self.before:
            parameter.copy_(start.lerp(parameter, weight))
        self.before = []


def relative_gradient_norms(module: ImageClassifier, examples: Examples, batches: list[list[int]]) -> dict[str, float]:
    """``||gradient|| / ||tensor||`` of what trains, BatchNorm left out, averaged over batches; the largest is 1.

    The network is in inference mode, so that measuring leaves no trace in its statistics.

    Args:
        module: the classifier.
        examples: images to take gradients at.
        batches: positions of the images of each batch.

    Returns:
        A weight between 0 and 1 by the tensor's name; all 0 where every gradient vanishes.
    """
    chain = module.model
    norms = {id(p) for m in chain.modules() if isinstance(m, _BatchNorm) for p in m.parameters(recurse=False)}
    tensors = {name: p for name, p in chain.named_parameters() if p.requires_grad and id(p) not in norms}
    ratios = torch.zeros(len(tensors), device=module.device)
    with inference_mode_of(chain), torch.enable_grad():
        for positions in batches:
            batch = examples.__getitems__(positions)
            logits = module(batch._replace(x=batch.x.to(module.device)))
            loss = F.cross_entropy(logits, batch.y.to(module.device))
            gradients = torch.autograd.grad(loss, list(tensors.values()))
            ratios += torch.stack([_ratio(g, p) for g, p in zip(gradients, tensors.values(), strict=True)])
    ratios /= ratios.max().clamp_min(torch.finfo(ratios.dtype).tiny)
    return dict(zip(tensors, ratios.tolist(), strict=True))


def _ratio(gradient: Tensor, tensor: nn.Parameter) -> Tensor:
    """Of a tensor that is all zeros there is no relative norm: it keeps still."""
    norm = tensor.detach().norm()
    return torch.where(norm > 0, gradient.norm() / norm, 0.0)
