"""The LightningModule around a chain of blocks: loss, metrics, optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from tbft.data.batches import Batch
from tbft.errors import BadInput
from tbft.models import BaseWeights, build, load_weights, read_weights
from tbft.models.number_format import NumberFormat, cheapest_format

_FORMATS = {
    "plain": NumberFormat(channels_last=False),
    "channels_last": NumberFormat(channels_last=True),
    "bf16": NumberFormat(channels_last=True, bf16=True),
    "cheapest": None,
}
OptimizerCallable = Callable[[Iterable], Optimizer]


class ImageClassifier(LightningModule):
    """A classifier to be trained on source data, or personalized from a base model.

    Args:
        base: base model: a checkpoint file, or a shipped one by name (``digits``, ``digits_superclasses``).
            ``None`` trains from fresh weights.
        architecture: ``resnet26``, ``resnet18``, ..., ``timm:NAME``, ``torchvision:NAME``, or either with
            ``@pretrained``. ``None`` is the base model's own.
        num_classes: outputs of the head. ``None`` is the base model's own.
        image_size: side of the images, in pixels. ``None`` is the base model's own.
        width: channels of the first stage of a pre-activation network. ``None`` is the base model's own, or 16.
        mean: normalisation of the images on the scale 0 to 1, one value or one a channel. ``None`` is the base
            model's own if its file says it, else ImageNet's for torchvision's networks and 0.5 for others.
        std: likewise.
        optimizer: optimiser of the trained parameters.
        learning_rates: learning rates of single blocks, by name, instead of the optimiser's.
        schedule: learning rate over the run: ``constant``, ``cosine`` (down to 0) or ``one_cycle`` (up over
            the first 30 % of the steps, then down; the optimiser's learning rate is the peak).
        number_format: ``plain`` (fp32, N C H W), ``channels_last`` (fp32), ``bf16`` (bfloat16 convolutions,
            channels last) or ``cheapest`` (the fastest of the three, measured once on this machine).
        noise_block: block whose weights get Gaussian noise before the run (the paper's motivation experiment).
        noise_scale: standard deviation of that noise, in standard deviations of each weight tensor.

    Raises:
        BadInput: if the base model is missing or does not fit.
    """

    def __init__(
        self,
        base: str | None = None,
        architecture: str | None = None,
        num_classes: int | None = None,
        image_size: int | None = None,
        width: int | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=5e-3),
        learning_rates: dict[str, float] | None = None,
        schedule: Literal["constant", "cosine", "one_cycle"] = "one_cycle",
        number_format: Literal["plain", "channels_last", "bf16", "cheapest"] = "channels_last",
        noise_block: str | None = None,
        noise_scale: float = 0.0,
    ) -> None:
        super().__init__()
        self.base: BaseWeights | None = read_weights(base, architecture) if base else None
        known = {**self.base.network, "image_size": self.base.image_size or None} if self.base else {}
        if self.base and not known["image_size"]:
            known["image_size"] = self.base.network.get("image_size", None if ":" in known["architecture"] else 224)
        given = {
            "architecture": architecture,
            "num_classes": num_classes,
            "image_size": image_size,
            "width": width,
        }
        chosen: dict[str, Any] = {
            **known,
            **{key: value for key, value in given.items() if value is not None},
        }
        if not self.base and (architecture is None or num_classes is None):
            raise BadInput("there is no network: give model.base, or model.architecture and model.num_classes")
        self.architecture = str(chosen["architecture"])
        if self.base:  # its weights are put in: none are to be downloaded
            self.architecture = self.architecture.partition("@")[0]
        self.model = build(
            self.architecture,
            num_classes=int(chosen["num_classes"]),
            image_size=chosen.get("image_size"),
            width=int(chosen.get("width") or 16),
            spec=known.get("spec") if self.architecture == known.get("architecture") else None,
        )
        if self.base:
            load_weights(self.model, self.base)
        self.mean = tuple(mean or (self.base and self.base.mean) or self.model.mean)
        self.std = tuple(std or (self.base and self.base.std) or self.model.std)
        if noise_block is not None:
            _add_noise(self.model.modules_of(self.model.resolve([noise_block])), noise_scale)
        self.make_optimizer, self.schedule, self.learning_rates = optimizer, schedule, learning_rates
        self.number_format = _FORMATS.get(number_format)
        metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(self.num_classes, average="micro"),
                "class_accuracy": MulticlassAccuracy(self.num_classes, average=None),
            },
            compute_groups=[["accuracy"], ["class_accuracy"]],
        )
        self.val_metrics, self.test_metrics = metrics.clone(prefix="val/"), metrics.clone(prefix="test/")

    @property
    def num_classes(self) -> int:
        """Outputs of the head."""
        return self.model.num_classes

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the base model's outputs; empty if there is none, or it does not say."""
        return self.base.classes if self.base else ()

    @property
    def image_size(self) -> int:
        """Side of the images, in pixels."""
        return self.model.image_size

    def setup(self, stage: str) -> None:
        """Choose the number format, once the device is known."""
        strategy = self.trainer.strategy
        # Of several processes all compute as the first one found.
        self.computes_in(self.number_format or strategy.broadcast(cheapest_format(strategy.root_device)))

    def computes_in(self, number_format: NumberFormat) -> None:
        """Compute in this format from now on."""
        self.number_format = number_format
        if number_format.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, batch: Batch, stop: str | None = None) -> Tensor:
        """Run a batch through the chain, from where it enters up to, not including, the link ``stop``.

        Returns:
            Logits ``(N, num_classes)`` in fp32, or, before ``stop``, features as the links make them.
        """
        x, how = batch.x, self.number_format or _FORMATS["channels_last"]
        assert how is not None
        if how.channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=how.bf16):
            y = self.model(x if how.bf16 else x.float(), start=batch.start, stop=stop)
        return y if stop else y.float()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy of one batch, a scalar."""
        loss = F.cross_entropy(self(batch), batch.y)
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.y))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy of one validation batch."""
        self._evaluate(batch, "val", self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy of one test batch."""
        self._evaluate(batch, "test", self.test_metrics)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Class probabilities ``(N, num_classes)`` of one batch."""
        return self(batch).softmax(1)

    def on_validation_epoch_end(self) -> None:
        """Book accuracy over all validation images."""
        self._summarize("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        """Book accuracy over all test images."""
        self._summarize("test", self.test_metrics)

    def check_length(self, max_epochs: int | None, max_steps: int) -> None:
        """Refuse a schedule over a run without an end (-1, as the trainer takes it).

        Raises:
            BadInput: if neither number ends the run.
        """
        if self.schedule != "constant" and max_epochs == max_steps == -1:
            raise BadInput(
                f"model.schedule {self.schedule} needs an end of the run: give trainer.max_epochs or "
                "trainer.max_steps, or --model.schedule constant"
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser over what trains, and its schedule over the whole run.

        Raises:
            BadInput: if nothing trains, or the schedule has no length.
        """
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if not trained and self.trainer.max_epochs == 0:
            return None  # statistics alone are adapted
        if not trained:
            raise BadInput("no parameter would train: name at least one block in freeze.blocks, or give freeze.level")
        optimizer = self.make_optimizer(self._groups())
        if self.schedule == "constant":
            return optimizer
        steps = self._steps()
        if self.schedule == "cosine":
            schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        else:
            rates = [group["lr"] for group in optimizer.param_groups]
            # Two steps are the fewest that a cycle can have.
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=max(steps, 2))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _groups(self) -> list[dict[str, Any]]:
        """What trains, in groups of one learning rate each."""
        of_block = {
            id(parameter): rate
            for block, rate in (self.learning_rates or {}).items()
            for module in self.model.modules_of(self.model.resolve([block]))
            for parameter in module.parameters(recurse=False)
        }
        groups: dict[float | None, list[torch.nn.Parameter]] = {}
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                groups.setdefault(of_block.get(id(parameter)), []).append(parameter)
        return [{"params": group} | ({} if rate is None else {"lr": rate}) for rate, group in groups.items()]

    def _steps(self) -> int:
        """Optimiser steps of the whole run, at least 1.

        Not ``trainer.estimated_stepping_batches``: that opens the training data before the cache is filled.

        Raises:
            BadInput: if the run has no end.
        """
        trainer = self.trainer
        self.check_length(trainer.max_epochs, trainer.max_steps)
        batches, limit = len(trainer.datamodule.train_dataloader()), trainer.limit_train_batches  # type: ignore[attr-defined]
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)  # a number, or a share
        epochs = trainer.max_epochs or 0
        ends = [math.ceil(batches / trainer.accumulate_grad_batches) * epochs, trainer.max_steps]
        return max(min(end for end in ends if end >= 0), 1)

    def _evaluate(self, batch: Batch, part: str, metrics: MetricCollection) -> None:
        logits = self(batch)
        metrics.update(logits, batch.y)
        self.log(f"{part}/loss", F.cross_entropy(logits, batch.y), batch_size=len(batch.y))

    def _summarize(self, part: str, metrics: MetricCollection) -> None:
        values = metrics.compute()
        names = self.trainer.datamodule.classes  # type: ignore[attr-defined]
        self.log(f"{part}/accuracy", values[f"{part}/accuracy"], prog_bar=True)
        of_class = dict(zip(names, values[f"{part}/class_accuracy"], strict=True))
        self.log_dict({f"{part}/accuracy_of/{name}": value for name, value in of_class.items()})
        metrics.reset()


@torch.no_grad()
def _add_noise(modules: Iterable[torch.nn.Module], scale: float) -> None:
    for module in modules:
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.weight += torch.randn_like(module.weight) * module.weight.std() * scale
