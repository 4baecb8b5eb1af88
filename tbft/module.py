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

from tbft.adaptation.score import Score, Tally
from tbft.data.batches import Batch
from tbft.errors import BadInput, check_between, check_positive
from tbft.models import METADATA, metadata_of
from tbft.models.classifier import Classifier
from tbft.models.number_format import FORMATS, resolve_format
from tbft.training.metrics import metrics_of

OptimizerCallable = Callable[[Iterable], Optimizer]
Schedule = Literal["constant", "cosine", "one_cycle"]


class ImageClassifier(Classifier, LightningModule):
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
            channels last) or ``cheapest`` (bfloat16 where the device multiplies it and, on a CPU, no convolution
            is depthwise; else fp32).
        noise_block: block whose weights get Gaussian noise before the run (the paper's motivation experiment).
        noise_scale: standard deviation of that noise, in standard deviations of each weight tensor.

    Raises:
        BadInput: if the base model is missing or does not fit.

    Attributes:
        scores: of the newest pass over the validation (``val``) and the test images (``test``).
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
        schedule: Schedule = "one_cycle",
        number_format: Literal["plain", "channels_last", "bf16", "cheapest"] = "channels_last",
        noise_block: str | None = None,
        noise_scale: float = 0.0,
    ) -> None:
        super().__init__()
        check_between(0, 1000, "model", noise_scale=noise_scale)
        if noise_scale and noise_block is None:
            raise BadInput(f"model.noise_scale is {noise_scale:g} and no block is noised: give model.noise_block")
        check_positive("model.learning_rates", **(learning_rates or {}))
        self.load(base, architecture, num_classes, image_size, width)
        self.describe_images(mean, std)
        if noise_block is not None:
            _add_noise(self.model.modules_of(self.model.resolve([noise_block])), noise_scale)
        self.number_format = FORMATS.get(number_format)
        self._train_with(optimizer, learning_rates, schedule)

    def _train_with(
        self,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=5e-3),
        learning_rates: dict[str, float] | None = None,
        schedule: Schedule = "one_cycle",
    ) -> None:
        self.make_optimizer, self.schedule, self.learning_rates = optimizer, schedule, learning_rates
        self.scores: dict[str, Score] = {}
        self._tally = Tally()

    @classmethod
    def around(cls, classifier: Classifier, **options: Any) -> ImageClassifier:
        """A module that trains a classifier's own network, in its number format.

        Args:
            classifier: the classifier, which keeps its network; both share it.
            options: ``optimizer``, ``learning_rates`` and ``schedule``.
        """
        module = cls.__new__(cls)
        LightningModule.__init__(module)
        module._train_with(**options)
        for name in ("model", "base", "classes", "mean", "std", "number_format"):
            setattr(module, name, getattr(classifier, name))
        return module

    def setup(self, stage: str) -> None:
        """Choose the number format, once the device is known; of several processes all compute as the first does."""
        strategy = self.trainer.strategy
        cheapest = resolve_format("cheapest", strategy.root_device, self.model)
        self.compute_in(self.number_format or strategy.broadcast(cheapest))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy of one batch, a scalar."""
        loss = F.cross_entropy(self(batch), batch.y)
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.y))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy of one validation batch."""
        self._tally.add(self(batch), batch.y)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy of one test batch."""
        self._tally.add(self(batch), batch.y)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Class probabilities ``(N, num_classes)`` of one batch."""
        return self(batch).softmax(1)

    def on_validation_epoch_start(self) -> None:
        """Begin to count; a pass that was broken off leaves nothing."""
        self._tally = Tally()

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        """Book the score on all validation images."""
        self._book("val")

    def on_test_epoch_end(self) -> None:
        """Book the score on all test images."""
        self._book("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say in a checkpoint what its weights are of: class names, size and normalisation of the images."""
        classes = self.trainer.datamodule.classes  # type: ignore[attr-defined]
        checkpoint[METADATA] = metadata_of(self.model, classes, mean=self.mean, std=self.std)

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

    def check_optimizer(self) -> None:
        """Make the optimiser once, to see whether it takes its arguments.

        Raises:
            BadInput: if it does not, or would train with numbers that are none, or that train nothing.
        """
        try:
            groups = self.make_optimizer(self._groups()).param_groups
        except Exception as error:  # each optimiser refuses in its own way
            raise BadInput(f"model.optimizer cannot be made ({' '.join(str(error).split())}): correct it") from None
        for group in groups:
            check_positive("model.optimizer.init_args", lr=float(group.get("lr", 1)))
            for name, value in group.items():
                if isinstance(value, float) and not math.isfinite(value):
                    raise BadInput(f"model.optimizer.init_args.{name} is {value}: give a finite number")

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
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                rates,
                total_steps=max(steps, 2),
                cycle_momentum=not {"momentum", "betas"}.isdisjoint(optimizer.defaults),
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lay the schedule over the run as it is now: a resumed run may be longer than the interrupted one was."""
        for state in checkpoint["lr_schedulers"]:
            for length in ("T_max", "total_steps", "_schedule_phases"):  # of cosine and one-cycle schedules
                state.pop(length, None)

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

    def _book(self, part: str) -> None:
        self.scores[part] = self._tally.score()
        named = metrics_of(part, self._tally, self.trainer.datamodule.classes)  # type: ignore[attr-defined]
        self.log(f"{part}/accuracy", named.pop(f"{part}/accuracy"), prog_bar=True)
        self.log_dict(named)


@torch.no_grad()
def _add_noise(modules: Iterable[torch.nn.Module], scale: float) -> None:
    for module in modules:
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.weight += torch.randn_like(module.weight) * module.weight.std() * scale
