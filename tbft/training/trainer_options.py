"""Options of Lightning's trainer that a run refuses, because it would ignore them or break a promise with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.plugins import LayerSync
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from tbft.errors import BadInput

_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "precision": ((None, 32, "32", "32-true"), "give --model.number_format plain, channels_last, bf16 or cheapest"),
    "default_root_dir": ((None,), "a run's files lie in one folder: give --run.root and --run.name"),
    "enable_checkpointing": ((None, True), "a run goes on from its checkpoint when it was interrupted: leave it out"),
    "fast_dev_run": ((False,), "it would leave the record of no real run: give --trainer.max_epochs 1"),
    "overfit_batches": ((0.0,), "it validates on training images: give a smaller --data.train_size"),
    "limit_val_batches": ((None, 1.0), "all validation images decide what is kept: give --data.validation"),
    "limit_test_batches": ((None, 1.0), "both models are tested on the same images: give --data.test_size"),
    "limit_predict_batches": ((None, 1.0), "all test images are predicted: give --data.test_size"),
    "num_sanity_val_steps": ((None, 0), "the base model is validated before anything trains: leave it out"),
    "use_distributed_sampler": ((False,), "the data shares its images out among processes itself: leave it out"),
    "max_time": ((None,), "the record says what stopped a run: give --energy.budget_seconds"),
    "barebones": ((False,), "a run validates and is recorded: leave it out"),
    "sync_batchnorm": ((False,), "statistics follow the policy of freeze.statistics: leave it out"),
    "model_registry": ((None,), "the model stays in the run's folder, as model.safetensors: leave it out"),
    "enable_autolog_hparams": ((True,), "a run always logs its configuration: leave it out"),
    "gradient_clip_algorithm": ((None, "norm", "value"), "give norm or value"),
    "profiler": ((None, "simple", "advanced", "pytorch", "xla"), "give simple, advanced or pytorch"),
    "strategy": (
        ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true"),
        "use ddp or auto, under which each process has the whole model and one of them writes the record",
    ),
}
"""For each option the accepted values, the default first, and the reason with what to do instead."""


def check_trainer_options(options: Mapping[str, Any], *, ends_early: str | None = None) -> None:
    """Refuse trainer options that a run would ignore, or that would break what it promises.

    All other options do what Lightning says: lengths, ``limit_train_batches``, ``val_check_interval``,
    ``check_val_every_n_epoch``, ``accumulate_grad_batches``, ``gradient_clip_val``, ``deterministic``, ``benchmark``,
    ``detect_anomaly``, ``inference_mode``, ``reload_dataloaders_every_n_epochs``, ``logger``, ``callbacks``, ...

    Args:
        options: options of the trainer, as configured.
        ends_early: option that can end the run before its last epoch (a solved head, a budget); ``None`` if none can.

    Raises:
        BadInput: if there is such an option; the message names it and what to give instead.
    """
    for name, (accepted, way_out) in _REFUSED.items():
        value = options.get(name, accepted[0])
        if not any(_same(value, other) for other in accepted) and not _is_object_that_fits(name, value):
            raise BadInput(f"trainer.{name} is {value}: {way_out}")
    plugins = options.get("plugins") or []
    for plugin in plugins if isinstance(plugins, list) else [plugins]:
        if not isinstance(plugin, ClusterEnvironment | LayerSync):
            raise BadInput(
                f"trainer.plugins has {plugin}: number format and checkpoints are the run's own; leave it out"
            )
    for name in ("min_epochs", "min_steps"):
        if options.get(name) and ends_early:  # Lightning would train on without a message
            raise BadInput(f"trainer.{name} is {options[name]} and {ends_early} ends the run earlier: leave one out")


def _same(value: Any, accepted: Any) -> bool:
    """Return whether both values mean the same to the trainer: 1 batch is not the share 1.0, and 0 is ``False``."""
    return value == accepted and (isinstance(value, float) == isinstance(accepted, float) or not value)


def _is_object_that_fits(name: str, value: Any) -> bool:
    if name == "strategy":
        single = isinstance(value, SingleDeviceStrategy)
        return single or (isinstance(value, DDPStrategy) and value._start_method == "popen")
    return name == "profiler" and isinstance(value, Profiler)
