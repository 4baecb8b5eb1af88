"""Keep-best as a callback: keep the weights of the epoch that validates best, or the base model's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from tbft.adaptation.evaluation import evaluate
from tbft.adaptation.keep_best import KeepBest, Reading
from tbft.callbacks.batches import labels_of
from tbft.callbacks.network import by_position, find_network
from tbft.callbacks.validation import ValidationScore
from tbft.energy.run_meter import RunMeter, phase_of
from tbft.errors import BadInput
from tbft.models.chain import BlockChain
from tbft.remedies.validated import Score


class KeepBestCallback(KeepBest, Callback):
    """Keeps the weights of the epoch that validates best, or the base model's, in any LightningModule.

    The base model is the network when the fit begins, before a checkpoint is restored. It is scored by a whole
    validation before training, in place of Lightning's sanity check (with ``LabelledData`` it is scored without the
    trainer). The position of this callback in the list of callbacks does not matter, except that with ``LabelledData``
    it must come before a ``FeatureCacheCallback``.

    Without a monitor the network's logits are compared with the labels image by image: the epoch with the lowest
    validation loss is the best, and it replaces the base model if ``reason_to_keep_base`` has no objection. With a
    monitor the epoch with the best value of the metric is kept, or the base model if no epoch has a better value.

    Args:
        has_base: whether there is a base model to fall back to; there is none while a base model is trained.
        score_first: with ``LabelledData``, whether to score the base model before anything else is prepared. Off scores
            it when training starts, on cached features, which is right if statistics stay the source's.
        meter: meter that books scoring to the phase ``validate``; the trainer's own validation is booked without it.
        network: network inside the LightningModule: path of an attribute (empty for the whole module), or a chain that
            ``chain_of`` made of it. ``None`` is the module's only child that has parameters.
        monitor: name of a metric that the module logs in validation, to decide instead of loss and accuracy of the
            logits (not for ``LabelledData``).
        mode: ``min`` if a smaller value of the metric is better, ``max`` if a larger one is.
        labels: function that returns the labels ``(N,)`` of a validation batch.

    Raises:
        BadInput: if a monitor has no mode; when a fit begins, if nothing validates, or parameters outside the network
            train; in validation, if the monitor is not logged or there are no logits to compare.
    """

    def __init__(
        self,
        has_base: bool = True,
        score_first: bool = True,
        meter: RunMeter | None = None,
        *,
        network: str | BlockChain | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        labels: Callable[[Any], Tensor] = labels_of,
    ) -> None:
        super().__init__()
        if (monitor is None) != (mode is None) or mode not in (None, "min", "max"):
            raise BadInput(f"monitor={monitor!r} and mode={mode!r}: give both, with mode 'min' or 'max', or neither")
        self.has_base, self.score_first, self.meter = has_base, score_first, meter
        self.network, self.monitor, self.mode = network, monitor, mode
        self.reading = Score if monitor is None else Reading
        self._validation = ValidationScore(labels)
        self._newest: Score | Reading | None = None
        self._prepared: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remember the base model, before a checkpoint is restored."""
        if stage == "fit":
            self.remember_base(self._network(pl_module))
            if self.has_base and not by_position(trainer, pl_module):
                trainer.num_sanity_val_steps = float("inf")  # a whole validation, to score the base

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the base model before its statistics change, with ``LabelledData``; else check module and trainer.

        Raises:
            BadInput: if ``monitor`` is given with ``LabelledData``, features were cached before, nothing validates, or
                parameters outside the network train.
        """
        found = by_position(trainer, pl_module)
        if not found:
            self._check(trainer, pl_module)
            return
        if self.monitor is not None:
            raise BadInput("monitor= is not for LabelledData, where the validation loss decides: leave it out")
        if self.score_first and self.has_base and self.base is None:
            data = found[1]
            if data.val is not None and data.val.start is not None:
                raise BadInput("the feature cache was filled before the base was scored: list KeepBestCallback first")
            self._score_base(trainer, pl_module)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the base model's weights for the validation that scores them."""
        if self._validates_base(trainer, pl_module):
            network = self._network(pl_module)
            self._prepared = {key: value.clone() for key, value in network.state_dict().items()}
            network.load_state_dict(self.base_weights)

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the base model's score and load the prepared weights again."""
        if self._validates_base(trainer, pl_module):
            self.base, self._newest = self._newest, None
            self._network(pl_module).load_state_dict(self._prepared)
            self._prepared = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the base model if it is not scored yet, with ``LabelledData``; else check that it is.

        Raises:
            BadInput: if there was no batch to validate the base model on.
        """
        if by_position(trainer, pl_module):
            self._score_base(trainer, pl_module)
        elif self._validates_base(trainer, pl_module):
            raise BadInput(
                "the base was not validated before training, for there was no batch to validate on: give some, or "
                "has_base=False"
            )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to collect the network's outputs."""
        if self._decides(trainer, pl_module) and self.monitor is None:
            self._validation.begin(self._network(pl_module))

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Discard outputs from before this batch."""
        if self._decides(trainer, pl_module) and self.monitor is None:
            self._validation.begin_batch()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Add the network's outputs on the batch to the score."""
        if self._decides(trainer, pl_module) and self.monitor is None:
            self._validation.end_batch(batch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the weights if they are the best so far."""
        if not self._decides(trainer, pl_module):
            return
        self._validation.end()
        self._newest = self._monitored(trainer) if self.monitor is not None else self._validation.score()
        if not trainer.sanity_checking:
            self.consider(self._network(pl_module), self._newest)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the best weights, or the base model's weights if there is a reason to keep them."""
        network = self._network(pl_module)
        if by_position(trainer, pl_module):
            self._score_base(trainer, pl_module)
            self.settle(network, lambda: self._score(trainer, pl_module))
        else:
            self.settle(network, lambda: self._newest)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop collecting outputs if the fit fails."""
        self._validation.end()

    def _decides(self, trainer: Trainer, module: LightningModule) -> bool:
        """Return whether a validation counts: it belongs to the fit and runs over all images."""
        partial = trainer.sanity_checking and not self._validates_base(trainer, module)
        return trainer.state.fn == "fit" and not partial

    def _validates_base(self, trainer: Trainer, module: LightningModule) -> bool:
        return self.has_base and self.base is None and not by_position(trainer, module)

    def _network(self, module: LightningModule) -> nn.Module:
        return find_network(module, self.network)

    def _check(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.enable_validation:
            raise BadInput("KeepBestCallback needs validation: give a val_dataloader and a validation_step")
        inside = {id(parameter) for parameter in self._network(module).parameters()}
        outside = [name for name, p in module.named_parameters() if p.requires_grad and id(p) not in inside]
        if outside:
            raise BadInput(
                f"{outside[0]} trains too and is not in the network that KeepBestCallback keeps: give network='' for "
                "the whole module"
            )

    def _monitored(self, trainer: Trainer) -> Reading:
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            what = ", ".join(metrics) or "nothing"
            where = " before training (its sanity check)" if trainer.sanity_checking else ""
            raise BadInput(f"monitor={self.monitor!r} is not what the module logs in validation{where}: {what}")
        value = float(metrics[self.monitor])
        return Reading(value if self.mode == "min" else -value, value)

    def _score_base(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.has_base:
            self.score_base(self._network(pl_module), lambda: self._score(trainer, pl_module))

    def _score(self, trainer: Trainer, pl_module: LightningModule) -> Score:
        found = by_position(trainer, pl_module)
        assert found is not None
        classifier, data = found
        assert data.val is not None
        with phase_of(self.meter, "validate"):
            return evaluate(classifier, data.val)
