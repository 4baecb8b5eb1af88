"""What is wrong is said in one line, with exit code 2, and nothing is written."""

import pickle
from pathlib import Path

import pytest
import torch

from tbft.models import build

CASES = {
    "unknown preset": (["--config", "nope.yaml"], "no configuration 'nope.yaml'"),
    "unknown option": (["--config", "feature.yaml", "--trainer.max_epoch", "3"], "max_epoch"),
    "unknown level": (["--config", "feature.yaml", "--freeze.level", "sensor"], "feature"),
    "unknown block": (["--config", "feature.yaml", "--freeze.blocks", "[block9]"], "block1, block2, block3, fc"),
    "missing base": (["--config", "feature.yaml", "--model.base", "nope.pt"], "nope.pt"),
    "other architecture": (["--config", "feature.yaml", "--model.architecture", "resnet26"], "another architecture"),
    "other classes": (["--config", "feature.yaml", "--model.base", "digits"], "10 classes"),
    "nothing trains": (["--config", "feature.yaml", "--freeze.blocks", "[]"], "no parameter would train"),
    "too much data": (["--config", "feature.yaml", "--data.train_size", "5000"], "training size of 5000"),
    "too little data": (["--config", "output.yaml", "--data.train_size", "4"], "data.train_size"),
    "unwritable folder": (["--config", "feature.yaml", "--run.root", "/proc/nowhere"], "cannot be written"),
    "unknown corruption": (["--config", "input.yaml", "--data.corruption", "mud"], "gaussian_noise"),
    "unknown label map": (["--config", "output.yaml", "--data.label_map", "mirror"], "flip"),
    "unknown data set": (["--config", "input.yaml", "--data", "Atlantis"], "Atlantis"),
    "block of a learning rate": (["--config", "feature.yaml", "--model.learning_rates", "{block9: 1}"], "'block9'"),
    "schedule without end": (["--config", "feature.yaml", "--trainer.max_epochs", "-1"], "trainer.max_steps"),
    "no checkpoint": (["--config", "feature.yaml", "--ckpt_path", "nope.ckpt"], "no checkpoint nope.ckpt"),
    "checkpoint elsewhere": (["--config", "feature.yaml", "--ckpt_path", "http://a.b/c.ckpt"], "download the file"),
    "no seed": (["--config", "feature.yaml", "--seed_everything", "-1"], "seed_everything is -1"),
    "no level": (
        ["--config", "input.yaml", "--data.corruption", "null", "--freeze.level", "null"],
        "input, feature, output",
    ),
}


OUT_OF_RANGE = {
    "head.images": ["-5", "1"],
    "freeze.statistics_images": ["0"],
    "cache.batch_size": ["0"],
    "cache.memory_limit": ["-1"],
    "cache.disk_limit": ["-1"],
    "data.batch_size": ["0"],
    "data.memory_limit": ["-1"],
    "data.test_size": ["-1"],
}
CASES |= {
    f"{option} {value}": (["--config", "output.yaml", f"--{option}", value], f"{option} is {value}")
    for option, values in OUT_OF_RANGE.items()
    for value in values
}


@pytest.mark.parametrize("case", CASES)
def test_fit_explains_bad_input(run, capsys, case):
    options, words = CASES[case]
    code, record = run("fit", *options, name="bad")
    err = capsys.readouterr().err
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1 and len(err) < 400
    assert not record and not any(Path.cwd().iterdir())


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_gpu_that_is_not_there_is_named_with_the_way_out(run, capsys, monkeypatch, command):
    for kind in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(kind, "is_available", lambda: False)
    assert run(command, "--config", "feature.yaml", "--config", "gpu.yaml")[0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "leave gpu.yaml out" in line and "--trainer.accelerator cpu" in line
    assert not any(Path.cwd().iterdir())


def test_a_checkpoint_to_test_must_be_a_file_here(run, capsys):
    Path("weights.safetensors").touch()
    for command, given, words in (
        ("test", "nope.ckpt", "no checkpoint nope.ckpt"),
        ("test", "nope.safetensors", "no checkpoint nope.safetensors"),
        ("test", "last", "no checkpoint runs/last.ckpt"),
        ("predict", "s3://bucket/a.ckpt", "download the file"),
        ("fit", "weights.safetensors", "give them as model.base"),
    ):
        assert run(command, "--config", "output.yaml", "--ckpt_path", given)[0] == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line


def test_without_a_test_image_there_is_nothing_to_test(run, capsys):
    code, record = run("fit", "--config", "output.yaml", "--data.test_size", "0")
    assert code == 0 and record["status"] == "completed"
    assert record["accuracy"]["test"] is None and record["accuracy"]["validation"] > 0
    assert "not tested" in capsys.readouterr().out
    for command in ("test", "predict"):
        assert run(command, "--config", "runs/run/config.yaml")[0] == 2
        assert "no image to test on" in capsys.readouterr().err
    assert not Path("runs/run/predictions.csv").exists()


def test_a_text_file_is_no_checkpoint(run, capsys):
    Path("base.pt").write_text("hello")
    assert run("fit", "--config", "feature.yaml", "--model.base", "base.pt")[0] == 2
    assert "base.pt" in capsys.readouterr().err


def test_a_checkpoint_of_other_width_is_named(run, capsys):
    torch.save(build("resnet8", num_classes=10, image_size=16, width=8).state_dict(), "base.pt")
    assert run("fit", "--config", "output.yaml", "--model.base", "base.pt", "--model.width", "16")[0] == 2
    assert "another architecture" in capsys.readouterr().err


def test_an_empty_class_is_named(run, capsys, monkeypatch):
    from tbft.data import Digits

    monkeypatch.setattr(Digits, "__init__", _with_eleventh_class(Digits.__init__))
    assert run("fit", "--config", "output.yaml")[0] == 2
    assert "class 'ten'" in capsys.readouterr().err


def _with_eleventh_class(make):
    def made(self, *args, **kwargs):
        make(self, *args, **kwargs)
        self.classes = (*self.classes, "ten")

    return made


def test_an_unknown_command_names_the_known_ones(run, capsys):
    assert run("frobnicate")[0] == 2
    assert "choose fit, validate, test, predict, diagnose, card" in capsys.readouterr().err


def test_help_and_print_config_behave_as_usual(run, capsys):
    assert run("--help")[0] == 0
    assert "feature.yaml" in capsys.readouterr().out
    assert run("validate", "--help", "all")[0] == 0
    assert "--freeze.level" in capsys.readouterr().out
    assert run("test", "--config", "feature.yaml", "--print_config")[0] == 0
    assert "level: feature" in capsys.readouterr().out


def test_a_run_that_fails_is_recorded_as_failed(run, capsys, monkeypatch):
    from tbft.module import ImageClassifier

    def fail(self, batch, batch_idx):
        raise RuntimeError("the sensor fell off")

    monkeypatch.setattr(ImageClassifier, "training_step", fail)
    code, record = run("fit", "--config", "feature.yaml")
    assert code == 1 and record["status"] == "failed"
    assert "the sensor fell off" in capsys.readouterr().err


class _Code:
    def __reduce__(self):
        return (Path.touch, (Path("it_ran"),))


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_checkpoint_runs_no_code(run, capsys, command):
    Path("evil.ckpt").write_bytes(pickle.dumps({"state_dict": _Code()}))
    torch.save({"state_dict": _Code()}, "zipped.ckpt")
    for name in ("evil.ckpt", "zipped.ckpt"):
        assert run(command, "--config", "output.yaml", "--ckpt_path", name)[0] == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert name in line and ("cannot be read as a checkpoint" in line or "could run code" in line)
        assert "weights_only" not in line
    assert not Path("it_ran").exists()
