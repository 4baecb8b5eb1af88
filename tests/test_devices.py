"""Devices: several processes give one record, and pictures cross to an accelerator once."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tbft.data import Digits
from tbft.data.batches import EpochOrder
from tbft.models import read_weights

pytestmark = pytest.mark.numbers


def test_two_processes_train_one_block_and_leave_one_record(tmp_path):
    command = [
        sys.executable, "-m", "tbft", "fit", "--config", "feature.yaml", "--run.wandb", "off", "--energy.plot", "false",
        "--freeze.statistics", "source", "--trainer.accelerator", "cpu", "--trainer.devices", "2",
        "--trainer.strategy", "ddp", "--trainer.max_epochs", "4",  # with a bar in the first process alone
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 1
    (folder,) = (tmp_path / "runs").iterdir()
    record = json.loads((folder / "result.json").read_text())
    assert record["status"] == "completed" and record["kept"] == "adapted" and record["epochs"] == 4
    assert record["accuracy"]["test"] > record["accuracy"]["base"] + 0.2
    base, tuned = read_weights("digits_superclasses").weights, read_weights(str(folder / "model.safetensors")).weights
    changed = {key.split(".")[0] for key in base if not torch.equal(base[key], tuned[key])}
    assert changed and changed <= {"layer3", "bn"}  # block3; the last norm is the head's or the block's


def test_processes_share_out_an_epoch_without_overlap(monkeypatch):
    data = Digits(train_size=101)
    data.setup()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    shares = []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        order = EpochOrder(data.train, seed=0)
        order.set_epoch(1)
        shares.append([*order])
        assert len(shares[-1]) == len(order) == len(data.train) // 2
    assert not set(shares[0]) & set(shares[1])
    assert len(data.train) - len(set(shares[0]) | set(shares[1])) <= 1


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
def test_processes_that_would_lose_the_record_are_refused(run, capsys, strategy):
    options = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", strategy]
    assert run("fit", "--config", "feature.yaml", *options)[0] == 2
    assert "use ddp" in capsys.readouterr().err


@pytest.mark.parametrize("on_device", [True, False])
def test_pictures_cross_to_the_device_only_where_asked(on_device):
    from types import SimpleNamespace

    from tbft.callbacks import DataOnDevice

    data = Digits(on_device=on_device)
    data.setup()
    # The meta device stands for an accelerator: it has the shapes and no memory.
    DataOnDevice().on_fit_start(SimpleNamespace(datamodule=data), SimpleNamespace(device=torch.device("meta")))
    where = "meta" if on_device else "cpu"
    for part in (data.train, data.val, data.test):
        assert part.x.device.type == part.y.device.type == where
        batch = part[0]
        assert batch.x.device.type == batch.y.device.type == where and batch.x.dtype == torch.float32


def test_pictures_that_do_not_fit_stay_where_they_are():
    data = Digits(on_device=True, memory_limit=0)
    data.setup()
    data.move_to(torch.device("meta"))
    assert data.train[0].x.device.type == "cpu"


def test_cached_features_stay_where_the_cache_keeps_them():
    data = Digits(on_device=True)
    data.setup()
    features = torch.zeros(len(data.train), 4), torch.zeros(len(data.val), 4)
    data.enter_at("fc", train=features[0], val=features[1])
    data.move_to(torch.device("meta"))
    assert data.train.x.device.type == data.val.x.device.type == "cpu" and data.test.x.device.type == "meta"


def test_a_device_that_is_too_small_gets_batch_by_batch(monkeypatch, caplog):
    from types import SimpleNamespace

    from tbft.callbacks import DataOnDevice
    from tbft.data.batches import Examples

    def full(self, device):
        raise torch.OutOfMemoryError("no room")

    data = Digits(on_device=True)
    data.setup()
    monkeypatch.setattr(Examples, "to", full)
    DataOnDevice().on_fit_start(SimpleNamespace(datamodule=data), SimpleNamespace(device=torch.device("meta")))
    assert not data.on_device and "batch by batch" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("level", ["input", "feature", "output"])
def test_each_level_runs_on_a_gpu(run, level):
    code, record = run("fit", "--config", f"{level}.yaml", "--config", "gpu.yaml")
    assert code == 0 and record["environment"]["device"] not in ("cpu", "")
    assert record["accuracy"]["test"] > record["accuracy"]["base"] + 0.2
