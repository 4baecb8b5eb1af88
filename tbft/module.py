"""The LightningModule of a chain of blocks: loss, metrics, optimiser and schedule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from tbft.adaptation.optimization import Optimization, OptimizerCallable, count_steps
from tbft.adaptation.score import Tally
from tbft.data.batches import Batch
from tbft.errors import BadInput, check_between
from tbft.models import METADATA, metadata_of
from tbft.models.classifier import Classifier
from tbft.models.number_format import FORMATS, resolve_format
from tbft.remedies.validated import Score
from tbft.training.metrics import metrics_of


class ImageClassifier(Classifier, LightningModule):
    """A classifier that is trained on source data, or personalized from a base model.

    Args:
        base: base model: a checkpoint file, or the name of a shipped one (``digits``, ``digits_superclasses``).
            ``None`` trains from fresh weights.
        architecture: ``resnet26``, ``resnet18``, ..., ``timm:NAME`` or ``torchvision:NAME``; the latter two may end in
            ``@pretrained``. ``None`` is the base model's own.
        num_classes: number of outputs of the head. ``None`` is the base model's own.
        image_size: side of the images, in pixels. ``None`` is the base model's own.
        width: channels of the first stage of a pre-activation network. ``None`` is the base model's own, or 16.
        mean: mean of the image normalisation on the scale 0 to 1, one value or one per channel. ``None`` is the base
            model's own if its file has one, else the network's usual one (0.5 for pre-activation networks).
        std: standard deviation of the image normalisation on the scale 0 to 1, one value or one per channel. ``None``
            is as for ``mean``.
        optimizer: optimiser of the trained parameters.
        learning_rates: learning rates of single blocks, by name of the block, instead of the optimiser's.
        schedule: learning rate over the run: ``constant``, ``cosine`` (down to 0) or ``one_cycle`` (up over the first
            30 % of the steps, then down; the optimiser's learning rate is the peak).
        number_format: number format and memory layout of convolutions: ``plain`` (fp32, N C H W), ``channels_last``
            (fp32), ``bf16`` (bfloat16 convolutions, channels last) or ``cheapest`` (bfloat16 where the device can
            multiply it and, on a CPU, no convolution is depthwise; else fp32).
        noise_block: block whose weights get Gaussian noise before the run (the paper's motivation experiment).
        noise_scale: standard deviation of that noise, in standard deviations of each weight tensor.

    Raises:
        BadInput: if the base model is missing or does not fit, or an option is out of range.

    Attributes:
        scores: scores of the newest pass over the validation images (``val``) and the test images (``test``).
        tally: losses and predictions of the newest pass over either.
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
        check_between(0, 1000, "model", noise_scale=noise_scale)
        if noise_scale and noise_block is None:
            raise BadInput(f"model.noise_scale is {noise_scale:g} and no block is noised: give model.noise_block")
        optimization = Optimization(optimizer, learning_rates, schedule)
        self.load(base, architecture, num_classes, image_size, width)
        self.describe_images(mean, std)
        if noise_block is not None:
            _add_noise(self.model.modules_of(self.model.resolve([noise_block])), noise_scale)
        self.number_format = FORMATS.get(number_format)
        self._train_with(optimization)

    def _train_with(self, optimization: Optimization) -> None:
        self.optimization = optimization
        self.scores: dict[str, Score] = {}
        self.tally = Tally()

    @classmethod
    def around(cls, classifier: Classifier, optimization: Optimization) -> ImageClassifier:
        """Return a module that trains a classifier's own network, in its number format.

        Args:
            classifier: classifier whose network the module shares.
            optimization: optimiser, learning rates and schedule.
        """
        module = cls.__new__(cls)
        LightningModule.__init__(module)
        module._train_with(optimization)
        for name in ("model", "base", "classes", "mean", "std", "number_format"):
            setattr(module, name, getattr(classifier, name))
        return module

    def setup(self, stage: str) -> None:
        """Set the number format, once the device is known; several processes all use that of the first."""
        strategy = self.trainer.strategy
        cheapest = resolve_format("cheapest", strategy.root_device, self.model)
        self.compute_in(self.number_format or strategy.broadcast(cheapest))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the cross-entropy of one batch, a scalar."""
        loss = F.cross_entropy(self(batch), batch.y)
        # With several processes this is the loss of the first one's share. A progress bar reads it in that process
        # alone, and a sum over processes would wait for the others forever.
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.y))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add losses and predictions of one validation batch to the tally."""
        self.tally.add(self(batch), batch.y)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add losses and predictions of one test batch to the tally."""
        self.tally.add(self(batch), batch.y)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the class probabilities ``(N, num_classes)`` of one batch."""
        return self(batch).softmax(1)

    def on_validation_epoch_start(self) -> None:
        """Start a new tally, without batches of a pass that was interrupted."""
        self.tally = Tally()

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        """Store and log the score on all validation images."""
        self._book("val")

    def on_test_epoch_end(self) -> None:
        """Store and log the score on all test images."""
        self._book("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the metadata of the weights to a checkpoint: class names, size and normalisation of the images, spec."""
        classes = self.trainer.datamodule.classes  # type: ignore[attr-defined]
        checkpoint[METADATA] = metadata_of(self.model, classes, mean=self.mean, std=self.std)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimiser of the parameters that train, and its schedule over the whole run.

        Raises:
            BadInput: if nothing trains, or the schedule needs a length and the run has none.
        """
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if not trained and self.trainer.max_epochs == 0:
            return None  # only statistics are adapted
        if not trained:
            raise BadInput("no parameter would train: name at least one block in freeze.blocks, or give freeze.level")
        optimizer = self.optimization.optimizer_for(self.model)
        if self.optimization.schedule == "constant":
            return optimizer
        schedule: Any = self.optimization.scheduler_for(optimizer, self._steps())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Drop the schedule's length, because a resumed run may be longer than the interrupted one."""
        for state in checkpoint["lr_schedulers"]:
            for length in ("T_max", "total_steps", "_schedule_phases"):  # of cosine and one-cycle schedules
                state.pop(length, None)

    def _steps(self) -> int:
        """Return the number of optimiser steps of the whole run, at least 1.

        ``trainer.estimated_stepping_batches`` is not used, because it opens the training data before the cache is
        filled.

        Raises:
            BadInput: if the schedule needs a length and the run has none.
        """
        trainer = self.trainer
        self.optimization.check_length(trainer.max_epochs, trainer.max_steps)
        batches, limit = len(trainer.datamodule.train_dataloader()), trainer.limit_train_batches  # type: ignore[attr-defined]
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)  # number, or share
        return count_steps(
            batches,
            trainer.max_epochs or 0,
            accumulated=trainer.accumulate_grad_batches,
            max_steps=trainer.max_steps,
        )

    def _book(self, part: str) -> None:
        self.scores[part] = self.tally.score()
        named = metrics_of(part, self.tally, self.trainer.datamodule.classes)  # type: ignore[attr-defined]
        self.log(f"{part}/accuracy", named.pop(f"{part}/accuracy"), prog_bar=True)
        self.log_dict(named)


@torch.no_grad()
def _add_noise(modules: Iterable[torch.nn.Module], scale: float) -> None:
    for module in modules:
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.weight += torch.randn_like(module.weight) * module.weight.std() * scale
