"""Every option of Lightning's trainer is honoured or refused in one line, never ignored."""

import inspect
from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy

from tbft.errors import BadInput
from tbft.training.trainer_options import _REFUSED, check_trainer_options

HONOURED = {
    "accelerator", "accumulate_grad_batches", "benchmark", "callbacks", "check_val_every_n_epoch", "detect_anomaly",
    "deterministic", "devices", "enable_model_summary", "enable_progress_bar", "gradient_clip_val", "inference_mode",
    "limit_train_batches", "log_every_n_steps", "logger", "max_epochs", "max_steps", "min_epochs", "min_steps",
    "num_nodes", "plugins", "reload_dataloaders_every_n_epochs", "val_check_interval",
}  # fmt: skip


def test_no_option_of_the_trainer_is_forgotten():
    assert set(inspect.signature(Trainer).parameters) == HONOURED | set(_REFUSED)


@pytest.mark.parametrize(
    ("option", "value", "way_out"),
    [
        ("precision", "bf16-mixed", "--model.number_format"),
        ("precision", "64-true", "--model.number_format"),
        ("precision", 16, "--model.number_format"),
        ("default_root_dir", "elsewhere", "--run.root"),
        ("enable_checkpointing", False, "leave it out"),
        ("fast_dev_run", True, "--trainer.max_epochs 1"),
        ("fast_dev_run", 2, "--trainer.max_epochs 1"),
        ("overfit_batches", 4, "--data.train_size"),
        ("limit_val_batches", 0, "--data.validation"),
        ("limit_val_batches", 1, "--data.validation"),
        ("limit_val_batches", 0.5, "--data.validation"),
        ("limit_test_batches", 3, "--data.test_size"),
        ("limit_predict_batches", 3, "--data.test_size"),
        ("num_sanity_val_steps", 2, "leave it out"),
        ("num_sanity_val_steps", -1, "leave it out"),
        ("use_distributed_sampler", True, "leave it out"),
        ("max_time", "00:00:01:00", "--energy.budget_seconds"),
        ("barebones", True, "leave it out"),
        ("sync_batchnorm", True, "freeze.statistics"),
        ("model_registry", "name", "leave it out"),
        ("gradient_clip_algorithm", "sum", "norm or value"),
        ("profiler", "fast", "give simple"),
        ("strategy", "fsdp", "use ddp"),
        ("strategy", "ddp_spawn", "use ddp"),
        ("strategy", FSDPStrategy(), "use ddp"),
        ("strategy", DDPStrategy(start_method="spawn"), "use ddp"),
        ("plugins", [MixedPrecision("bf16-mixed", "cpu")], "number format"),
        ("plugins", "bf16", "number format"),
    ],
)
def test_what_a_run_cannot_do_is_refused_with_the_way_out(option, value, way_out):
    with pytest.raises(BadInput, match=f"^trainer.{option} ") as refused:
        check_trainer_options({option: value})
    assert way_out in str(refused.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("precision", "32-true"),
        ("limit_val_batches", 1.0),
        ("overfit_batches", 0),
        ("fast_dev_run", 0),
        ("num_sanity_val_steps", 0),
        ("strategy", DDPStrategy()),
        ("profiler", SimpleProfiler()),
        ("plugins", [LightningEnvironment()]),
        ("min_epochs", 2),
    ],
)
def test_what_changes_nothing_or_works_is_accepted(option, value):
    check_trainer_options({option: value})


@pytest.mark.parametrize("command", ["fit", "test"])
def test_the_command_line_refuses_too(run, capsys, command):
    assert run(command, "--config", "output.yaml", "--trainer.precision", "bf16-mixed")[0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "trainer.precision is bf16-mixed" in line and not any(Path.cwd().iterdir())


@pytest.mark.parametrize(
    "ending", [["--head.solve", "true"], ["--head.solve", "false", "--energy.budget_seconds", "9"]]
)
def test_a_run_that_ends_early_takes_no_least_length(run, capsys, ending):
    options = ["fit", "--config", "output.yaml", *ending]
    for least in ("min_epochs", "min_steps"):
        assert run(*options, f"--trainer.{least}", "1")[0] == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"trainer.{least} is 1" in line and ending[-2].removeprefix("--") in line


def test_options_that_are_honoured_work_together(run):
    code, record = run(
        "fit", "--config", "feature.yaml", "--run.test", "false", "--trainer.max_epochs", "3",
        "--trainer.val_check_interval", "0.5", "--trainer.reload_dataloaders_every_n_epochs", "1",
        "--trainer.accumulate_grad_batches", "2", "--trainer.gradient_clip_val", "1",
        "--trainer.inference_mode", "false", "--trainer.detect_anomaly", "true",
        "--trainer.limit_train_batches", "0.5", "--trainer.min_epochs", "2",
    )  # fmt: skip
    assert code == 0 and record["epochs"] == 3
    assert len(record["curve"]) == 6 and record["steps"] == 3 * 9  # 34 batches an epoch: half of them, two a step
    assert record["accuracy"]["validation"] == max(point["validation_accuracy"] for point in record["curve"])
