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

from tbft.data.batches import Batch
from tbft.errors import BadInput, check_between, check_positive
from tbft.models import METADATA, BaseWeights, build, check_network, load_weights, metadata_of, read_weights
from tbft.models.number_format import FORMATS, NumberFormat, resolve_format
from tbft.models.weights_check import IMAGE_SIZES
from tbft.normalisation import check_normalisation
from tbft.score import Score, Tally

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
            channels last) or ``cheapest`` (bfloat16 where the device multiplies it, else fp32).
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
        schedule: Literal["constant", "cosine", "one_cycle"] = "one_cycle",
        number_format: Literal["plain", "channels_last", "bf16", "cheapest"] = "channels_last",
        noise_block: str | None = None,
        noise_scale: float = 0.0,
    ) -> None:
        super().__init__()
        check_between(*IMAGE_SIZES, "model", image_size=image_size)
        check_between(2, 100_000, "model", num_classes=num_classes)
        check_between(1, 4096, "model", width=width)
        check_between(0, 1000, "model", noise_scale=noise_scale)
        check_positive("model.learning_rates", **(learning_rates or {}))
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
        network: dict[str, Any] = {
            "num_classes": int(chosen["num_classes"]),
            "image_size": chosen.get("image_size"),
            "width": int(chosen.get("width", 16)),
        }
        if any(value is not None for value in given.values()) and ":" not in self.architecture:
            check_network(self.base, self.architecture, **{**network, "image_size": network["image_size"] or 32})
        self.model = build(self.architecture, **network, spec=chosen.get("spec"))
        if self.base:
            load_weights(self.model, self.base)
        self.mean = tuple(mean if mean is not None else (self.base and self.base.mean) or self.model.mean)
        self.std = tuple(std if std is not None else (self.base and self.base.std) or self.model.std)
        check_normalisation("model.", self.mean, self.std)
        if noise_block is not None:
            _add_noise(self.model.modules_of(self.model.resolve([noise_block])), noise_scale)
        self.make_optimizer, self.schedule, self.learning_rates = optimizer, schedule, learning_rates
        self.number_format = FORMATS.get(number_format)
        self.scores: dict[str, Score] = {}
        self._tally = Tally()

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
        # Of several processes all compute as the first one does.
        self.computes_in(self.number_format or strategy.broadcast(resolve_format("cheapest", strategy.root_device)))

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
        x, how = batch.x, self.number_format or FORMATS["channels_last"]
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
        score, names = self._tally.score(), self.trainer.datamodule.classes  # type: ignore[attr-defined]
        self.scores[part] = score
        self.log(f"{part}/loss", score.loss)
        self.log(f"{part}/accuracy", score.accuracy, prog_bar=True)
        of_class = dict(zip(names, self._tally.accuracy_of_classes(self.num_classes), strict=True))
        self.log_dict({f"{part}/accuracy_of/{name}": value for name, value in of_class.items()})


@torch.no_grad()
def _add_noise(modules: Iterable[torch.nn.Module], scale: float) -> None:
    for module in modules:
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.weight += torch.randn_like(module.weight) * module.weight.std() * scale
