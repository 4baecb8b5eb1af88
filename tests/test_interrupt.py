"""Interrupted runs leave a record and resume to the weights of an uninterrupted one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tbft.models import read_weights
from tbft.module import ImageClassifier

EPOCHS, INTERRUPTED_IN = 5, 2
FIT = (
    *("fit", "--config", "feature.yaml", "--trainer.max_epochs", str(EPOCHS), "--energy.codecarbon", "false"),
    *("--energy.plot", "false", "--run.wandb", "off", "--run.test", "false", "--trainer.enable_progress_bar", "false"),
)
KILLED = f"""
import signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_interrupt import FIT, signalling
from tbft.cli import main
from tbft.module import ImageClassifier
ImageClassifier.training_step = signalling(ImageClassifier.training_step, signal.SIGKILL)
main([*FIT])
"""
SIGNALLED_WHILE_LOADING = """
import os, runpy, signal, sys

module, number = sys.argv[1], int(sys.argv[2])

class Signalling:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), number)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Signalling)
sys.argv[1:] = ["fit", "--config", "feature.yaml"]
runpy.run_module("tbft", run_name="__main__")
"""


def signalling(step, number):
    """A training step that sends its own process a signal in the middle of an epoch."""

    def training_step(self, batch, batch_idx):
        if (self.current_epoch, batch_idx) == (INTERRUPTED_IN, 1):
            os.kill(os.getpid(), number)
        return step(self, batch, batch_idx)

    return training_step


@pytest.fixture(autouse=True)
def heard():
    """Ctrl-C is heard, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    from tbft.cli import main

    folder = tmp_path_factory.mktemp("whole")
    assert main([*FIT, "--run.root", str(folder), "--run.name", "run"]) == 0
    return read_weights(str(folder / "run/model.safetensors")).weights


@pytest.mark.numbers
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_resumed_weights_are_those_of_an_uninterrupted_run(tmp_path, monkeypatch, uninterrupted, number, code):
    from tbft.cli import main

    monkeypatch.chdir(tmp_path)
    if number == signal.SIGKILL:
        assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == code
    else:
        with monkeypatch.context() as patched:
            patched.setattr(ImageClassifier, "training_step", signalling(ImageClassifier.training_step, number))
            assert main([*FIT]) == code
    (run,) = Path("runs").iterdir()
    if number != signal.SIGKILL:
        record = json.loads((run / "result.json").read_text())
        assert record["status"] == "interrupted" and record["epochs"] == INTERRUPTED_IN
    assert main([*FIT, "--ckpt_path", "last"]) == 0
    record = json.loads((run / "result.json").read_text())
    assert record["status"] == "completed" and record["epochs"] == EPOCHS
    assert len(record["curve"]) == EPOCHS  # the curve of both parts, and what both cost
    joules = [point["joules"] for point in record["curve"]]
    assert joules == sorted(joules) and joules[-1] <= record["joules"]["adaptation"]
    assert record["wall_seconds"]["adaptation"] >= record["curve"][-1]["wall_seconds"]
    weights = read_weights(str(run / "model.safetensors")).weights
    assert all(torch.equal(weights[key], uninterrupted[key]) for key in uninterrupted)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("module", ["tbft.cli", "tbft.options.catalogue", "tbft.command_line.lightning_cli", "numpy"])
def test_a_signal_while_the_program_loads_ends_it_without_a_word(tmp_path, module, number, code):
    command = [sys.executable, "-c", SIGNALLED_WHILE_LOADING, module, str(int(number))]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
    assert not any(tmp_path.iterdir())
