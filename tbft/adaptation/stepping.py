"""Training by steps in a plain loop, with the same weights and record as training with Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from tbft.adaptation.adaptation import Adaptation
from tbft.adaptation.evaluation import evaluate
from tbft.adaptation.optimization import Optimization, count_steps
from tbft.data.batches import Batch
from tbft.models.classifier import Classifier
from tbft.progress import with_bar

_HONOURED = ("max_epochs", "accelerator", "enable_progress_bar")
_ACCELERATORS = (None, "auto", "cpu", "gpu", "cuda", "mps")


def honours(options: Mapping[str, Any]) -> bool:
    """Return whether the plain loop supports these options of Lightning's trainer; other options need the trainer."""
    given = {name for name, value in options.items() if name != "callbacks" or value}
    epochs = options.get("max_epochs", 1)
    ends = isinstance(epochs, int) and not isinstance(epochs, bool) and epochs >= 0
    return given <= set(_HONOURED) and ends and options.get("accelerator") in _ACCELERATORS


def train_in_loop(adaptation: Adaptation, optimization: Optimization, *, show_progress: bool = False) -> None:
    """Train the adaptation's target for its ``epochs``. Afterwards the network has the kept weights.

    Args:
        adaptation: network, target and images.
        optimization: optimiser, learning rates and schedule.
        show_progress: whether a long epoch shows a progress bar.
    """
    classifier, data, meter, keep = adaptation.classifier, adaptation.data, adaptation.meter, adaptation.keep
    chain, progress, epochs = classifier.model, adaptation.progress, adaptation.epochs
    names = ", ".join(adaptation.blocks)
    assert data.val is not None and epochs is not None
    with adaptation.preparing():
        # The loader is made before the statistics are refreshed, because making it sets the epoch of the augmentation.
        steps = count_steps(len(data.train_dataloader()), epochs)
        adaptation.prepare_network()
        adaptation.cache.fill(classifier, data, adaptation.freeze, Path.cwd())
        loader = data.train_dataloader()
        optimizer = optimization.optimizer_for(chain)
        scheduler = optimization.scheduler_for(optimizer, steps)
    with meter.phase("train"):
        stopped = meter.over_budget()  # preparing may have used up the budget
        adaptation.score_base()  # runs on cached features; scored already where statistics were refreshed
        for epoch in range(0 if stopped else epochs):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            batches: Iterable[Batch] = loader
            if show_progress:
                batches = with_bar(loader, len(loader), f"training {names}, epoch {epoch + 1} of {epochs}")
            for batch in batches:
                _step(classifier, batch, optimizer)
                if scheduler is not None:
                    scheduler.step()
                progress.steps += 1
                if stopped := meter.over_budget():
                    break
            with meter.phase("validate"):
                score = evaluate(classifier, data.val, max(data.batch_size, 128))
            keep.consider(chain, score)
            progress.note(epoch, progress.steps, score, *meter.spent())
            progress.epochs += 1
            if stopped:
                break
        keep.settle(chain, adaptation.validate)


def _step(classifier: Classifier, batch: Batch, optimizer: Optimizer) -> None:
    """Run one optimiser step; the optimiser may compute the loss more than once (as L-BFGS does)."""
    device = next(classifier.parameters()).device
    batch = batch._replace(x=batch.x.to(device), y=batch.y.to(device))

    def loss_with_gradients() -> Tensor:
        with torch.enable_grad():
            loss = F.cross_entropy(classifier(batch), batch.y)
        optimizer.zero_grad()
        loss.backward()
        return loss

    optimizer.step(loss_with_gradients)  # type: ignore[arg-type]  # typed for float losses, but optimisers take tensors
