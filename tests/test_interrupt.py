"""Interrupted runs leave a record and resume to the weights of an uninterrupted one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tbft.models import read_weights

# Fifty epochs give the signal time to arrive in the middle.
FIT = ["fit", "--config", "feature.yaml", "--trainer.max_epochs", "50", "--run.wandb", "off", "--run.test", "false"]


def start(folder: Path, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tbft", *FIT, *options],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A test run in the background is told to ignore Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert start(folder, "--run.name", "run").wait(120) == 0
    return read_weights(str(folder / "runs/run/model.safetensors")).weights


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_resumed_weights_are_those_of_an_uninterrupted_run(tmp_path, uninterrupted, number, code):
    process = start(tmp_path)
    (run,) = wait_for_run(tmp_path)
    process.send_signal(number)
    assert process.wait(60) == code
    if number != signal.SIGKILL:
        record = json.loads((run / "result.json").read_text())
        assert record["status"] == "interrupted" and 0 < record["epochs"] < 50
    assert start(tmp_path, "--ckpt_path", "last").wait(120) == 0
    record = json.loads((run / "result.json").read_text())
    assert record["status"] == "completed" and record["epochs"] == 50
    assert len(record["curve"]) == 50  # the curve of both parts, and what both cost
    joules = [point["joules"] for point in record["curve"]]
    assert joules == sorted(joules) and joules[-1] <= record["joules"]["adaptation"]
    assert record["wall_seconds"]["adaptation"] >= record["curve"][-1]["wall_seconds"]
    weights = read_weights(str(run / "model.safetensors")).weights
    assert all(torch.equal(weights[key], uninterrupted[key]) for key in uninterrupted)


def wait_for_run(folder: Path) -> list[Path]:
    end = time.monotonic() + 90
    while not (found := list(folder.glob("runs/*/last.ckpt"))):
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.15)  # a few epochs further
    return [path.parent for path in found]
