"""A run goes on as itself or not at all, and what it has kept is never mixed up or lost."""

import errno
import functools
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from safetensors.torch import load_file, save_file

from tbft import atomic
from tbft.adaptation.adaptation import Adaptation
from tbft.cli import main
from tbft.models import read_weights

FIT = ["fit", "--config", "feature.yaml", "--data.train_size", "60", "--energy.codecarbon", "false"]
SHORT = [*FIT, "--trainer.max_epochs", "2", "--run.test", "false"]
EARLY_STOP = "--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping"


def weights_of(name: str = "run") -> dict:
    return load_file(Path("runs") / name / "model.safetensors")


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_other_commands_take_what_a_resumed_run_kept(run, capsys):
    run(*FIT, "--trainer.max_epochs", "2")
    # The last epochs spoil the weights: what is kept is an earlier epoch's.
    code, record = run(*FIT, "--trainer.max_epochs", "3", "--ckpt_path", "last")
    assert code == 0 and record["epochs"] == 3
    assert "ckpt_path: null" in Path("runs/run/config.yaml").read_text()
    before = Path("runs/run/model.safetensors").read_bytes()
    checkpoint = Path("runs/run/last.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = {k: torch.zeros_like(v) for k, v in content["state_dict"].items()}
    torch.save(content, checkpoint)
    capsys.readouterr()
    assert run("test", "--config", "runs/run/config.yaml")[0] == 0
    shown = re.search(r"test/accuracy\D+([01]\.\d+)", capsys.readouterr().out)
    assert shown and float(shown[1]) == pytest.approx(record["accuracy"]["test"], abs=1e-6)
    assert Path("runs/run/model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--seed_everything", "1"], "seed_everything (0 -> 1)"),
        (["--data.train_size", "70"], "data.init_args.train_size (60 -> 70)"),
        (["--model.optimizer.init_args.lr", "0.5"], "model.optimizer.init_args.lr (0.0015 -> 0.5)"),
        (["--freeze.blocks", "[block2]"], 'freeze.blocks (null -> ["block2"])'),
        (["--freeze.statistics", "source"], 'freeze.statistics ("refresh" -> "source")'),
        (["--data.augment", "crop"], 'data.init_args.augment ("none" -> "crop")'),
        (["--trainer.accumulate_grad_batches", "2"], "trainer.accumulate_grad_batches (1 -> 2)"),
        (["--model.base", "other.safetensors"], "model.base (digits_superclasses -> other.safetensors)"),
    ],
)
def test_another_run_is_never_taken_up(run, stopped_run, capsys, options, named):
    other = {key: value + 0.01 if value.is_floating_point() else value for key, value in weights_of().items()}
    save_file(other, "other.safetensors")
    before = {path: path.read_bytes() for path in Path("runs/run").iterdir() if path.is_file()}
    code, _ = run(*SHORT, *options, "--ckpt_path", "last")
    said = capsys.readouterr().err
    assert code == 2 and named in said and said.count("\n") == 1
    assert before == {path: path.read_bytes() for path in Path("runs/run").iterdir() if path.is_file()}


@pytest.fixture
def stopped_run(run):
    """A completed run of two epochs, in the folder that the test works in."""
    code, record = run(*SHORT)
    assert code == 0
    return record


def test_epochs_and_budgets_may_change(run, stopped_run):
    for schedule in ("one_cycle", "cosine"):
        name = schedule
        assert run(*SHORT, "--model.schedule", schedule, name=name)[0] == 0
        options = ["--trainer.max_epochs", "4", "--energy.budget_seconds", "500", "--ckpt_path", "last"]
        code, record = run(*FIT, "--run.test", "false", "--model.schedule", schedule, *options, name=name)
        assert code == 0 and record["epochs"] == 4 and len(record["curve"]) == 4


def test_fewer_epochs_than_are_done_are_refused(run, stopped_run, capsys):
    code, _ = run(*FIT, "--trainer.max_epochs", "1", "--run.test", "false", "--ckpt_path", "last")
    assert code == 2 and "2 epochs behind it" in capsys.readouterr().err
    assert json.loads(Path("runs/run/result.json").read_text())["status"] == "completed"


def test_an_overwritten_run_is_not_taken_up_again(run, stopped_run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("lightning.pytorch.Trainer.fit", raising(RuntimeError("stopped here"), Trainer.fit))
        assert run(*SHORT, "--run.overwrite", "true")[0] == 1
    assert not Path("runs/run/last.ckpt").exists()


def test_pictures_that_are_read_batch_by_batch_are_known_again(run, tmp_path, capsys):
    def write(brightness: int) -> None:
        for digit in range(10):
            folder = tmp_path / "pictures" / str(digit)
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(4):
                noise = np.random.default_rng([digit, i]).integers(0, brightness, (16, 16), np.uint8)
                Image.fromarray(noise).save(folder / f"{i}.png")

    write(brightness=200)
    data = ["--config", "data/folder.yaml", "--data.root", str(tmp_path / "pictures"), "--data.train_size", "20"]
    fit = ["fit", "--config", "feature.yaml", "--model.base", "digits", *data, "--run.test", "false"]
    assert run(*fit, "--trainer.max_epochs", "1", "--data.memory_limit", "0")[0] == 0
    again = [*fit, "--trainer.max_epochs", "2", "--ckpt_path", "last"]
    assert run(*again)[0] == 0  # kept in memory now
    write(brightness=20)
    for limit in ([], ["--data.memory_limit", "0"]):
        assert run(*again, *limit)[0] == 2 and "other images or labels" in capsys.readouterr().err


def raising(error: BaseException, like: Callable) -> Callable:
    """A function with the signature of another one, which Lightning's command line reads."""

    @functools.wraps(like)
    def function(*args, **kwargs):
        raise error

    return function


def test_an_unreadable_checkpoint_leaves_a_completed_run_as_it_is(run, stopped_run, capsys):
    for name in ("last.ckpt", "previous.ckpt"):
        Path("runs/run", name).write_bytes(b"no checkpoint")
    before = Path("runs/run/result.json").read_bytes()
    code, _ = run(*SHORT, "--ckpt_path", "last")
    assert code == 2 and "leave --ckpt_path out to begin again" in capsys.readouterr().err
    assert Path("runs/run/result.json").read_bytes() == before


def test_a_changed_checkpoint_is_never_taken(run, stopped_run):
    from tbft.callbacks.checkpoint import AtomicCheckpointIO
    from tbft.errors import BadInput

    whole = Path("runs/run/last.ckpt").read_bytes()
    expected = torch.load("runs/run/last.ckpt", weights_only=True)
    chance = random.Random(0)
    refused = 0
    for _ in range(60):
        place, count = chance.randrange(len(whole)), chance.choice([1, 16, 2000])
        changed = bytearray(whole)
        changed[place : place + count] = bytes(b ^ 0xFF for b in whole[place : place + count])
        Path("torn.ckpt").write_bytes(changed if chance.random() < 0.7 else whole[:place])
        try:
            content = AtomicCheckpointIO().load_checkpoint("torn.ckpt", "cpu")
        except BadInput:
            refused += 1
            continue
        assert same(content["state_dict"], expected["state_dict"])  # padding alone was changed
    assert refused > 40


def test_a_torn_checkpoint_falls_back_to_the_one_before(run, caplog):
    run(*SHORT, name="whole")
    whole = weights_of("whole")
    run(*SHORT)
    checkpoint = Path("runs/run/last.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-5000])
    code, record = run(*SHORT, "--ckpt_path", "last")
    assert code == 0 and record["epochs"] == 2 and "one checkpoint earlier" in caplog.text
    assert same(weights_of(), whole)


@pytest.mark.parametrize("left", [None, b""])
def test_a_kill_between_two_files_leaves_the_checkpoint_before(run, caplog, left):
    run(*SHORT, name="whole")
    run(*SHORT)
    newest = Path("runs/run/last.ckpt")
    newest.unlink() if left is None else newest.write_bytes(left)
    code, record = run(*SHORT, "--ckpt_path", "last")
    assert code == 0 and record["epochs"] == 2 and "one checkpoint earlier" in caplog.text
    assert same(weights_of(), weights_of("whole"))


def test_a_run_that_stopped_early_stays_stopped(run):
    options = [EARLY_STOP, "--trainer.callbacks.monitor=val/loss", "--trainer.callbacks.patience=1"]
    options += ["--model.optimizer.init_args.lr", "0.3", "--model.schedule", "constant", "--trainer.max_epochs", "30"]
    _, first = run(*FIT, *options)
    assert 1 < first["epochs"] < 30
    weights = weights_of()
    code, again = run(*FIT, *options, "--ckpt_path", "last")
    assert code == 0 and again["epochs"] == first["epochs"] and len(again["curve"]) == first["epochs"]
    assert again["accuracy"] == first["accuracy"] and same(weights_of(), weights)


def test_two_runs_never_share_a_folder(run, capsys):
    from tbft.runs.folder import RunFolder

    with RunFolder(Path("runs/run")).locked():
        code, _ = run(*SHORT)
        assert code == 2 and "another run is at work" in capsys.readouterr().err
    assert not Path("runs").exists()
    assert run(*SHORT)[0] == 0


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path):
    from contextlib import ExitStack

    from tbft.runs.settings import RunSettings

    barrier, claimed, release = threading.Barrier(4), [], threading.Event()

    def claim():
        with ExitStack() as held:
            barrier.wait()
            claimed.append(RunSettings(root=str(tmp_path)).claim("same", held, resume=False).path.name)
            (tmp_path / claimed[-1] / "config.yaml").touch()
            release.wait(10)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(claimed) < 4 and any(thread.is_alive() for thread in threads):
        pass
    release.set()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == ["same", "same.2", "same.3", "same.4"]


def test_a_configuration_that_was_cut_short_is_refused(run, stopped_run, capsys):
    config = Path("runs/run/config.yaml")
    config.write_text(config.read_text()[:-200])
    assert run("test", "--config", str(config))[0] == 2
    assert "was cut short" in capsys.readouterr().err


class FailingDisk:
    """Lets so many files be flushed, then says that the disk is full."""

    def __init__(self, writes: int) -> None:
        self.left, self.fsync = writes, os.fsync

    def __call__(self, descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            return
        self.left -= 1
        if self.left < 0 and not Path("runs/run/.reserve").exists():  # the record finds the reserved space
            return
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.fsync(descriptor)


def test_each_write_that_fails_leaves_the_earlier_run_whole_and_says_why(run, monkeypatch):
    _, first = run(*SHORT)
    kept = {name: Path("runs/run", name).read_bytes() for name in ("model.safetensors", "config.yaml", "result.json")}
    outcomes = []
    for writes in range(20):
        with monkeypatch.context() as patch:
            patch.setattr(atomic.os, "fsync", FailingDisk(writes))
            code, record = run(*SHORT, "--seed_everything", "7", "--run.overwrite", "true")
        outcomes.append(code)
        if code == 0:
            break
        assert code == 1 and record == first
        assert all(Path("runs/run", name).read_bytes() == content for name, content in kept.items())
        unfinished = json.loads(Path("runs/run/result.unfinished.json").read_text())
        assert unfinished["status"] == "failed" and "no space is left" in unfinished["error"]
    assert outcomes[-1] == 0 and len(outcomes) > 3  # configuration, checkpoints, weights, record
    assert record["seed"] == 7 and not Path("runs/run/result.unfinished.json").exists()
    assert Path("runs/run/model.safetensors").read_bytes() != kept["model.safetensors"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root mounts a file system")
def test_a_small_disk_that_fills_up_leaves_a_reason_and_no_half_file(run, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    outcomes = {}
    for kibibytes in (350, 600, 850, 1100, 4000):
        options = ["-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(disk)]
        if subprocess.run(["mount", *options], check=False, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        try:
            code, _ = run(*SHORT, "--run.root", str(disk))
            record = json.loads((disk / "run/result.json").read_text())
            outcomes[kibibytes] = code
            assert (record["status"], code) in (("completed", 0), ("failed", 1))
            assert code == 0 or "no space is left" in record["error"]
            if (disk / "run/model.safetensors").exists():
                read_weights(str(disk / "run/model.safetensors"))
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    assert 1 in outcomes.values() and outcomes[4000] == 0


@pytest.mark.parametrize("where", ["fit", "test"])
def test_a_failed_run_says_why(run, monkeypatch, where):
    of, name = (Trainer, "fit") if where == "fit" else (Adaptation, "test")
    monkeypatch.setattr(of, name, raising(RuntimeError("the sky\nfell"), getattr(of, name)))
    code, record = run(*FIT, "--trainer.max_epochs", "1")
    assert code == 1 and record["status"] == "failed" and record["error"] == "RuntimeError: the sky fell"


def test_fewer_checkpoints_can_be_asked_for(run, monkeypatch):
    saved = []
    real = atomic.write_bytes
    monkeypatch.setattr(
        "tbft.callbacks.checkpoint.write_bytes", lambda path, *a, **k: (saved.append(path.name), real(path, *a, **k))
    )
    assert run(*FIT, "--run.test", "false", "--trainer.max_epochs", "5", "--run.checkpoint_every", "2")[0] == 0
    assert saved == ["last.ckpt"] * 3  # after 2, 4 and 5 epochs


@pytest.mark.timeout(3600)
def test_kills_at_random_moments_lose_nothing(run):
    """A long version with ``TBFT_KILLS=100``."""
    options = [*FIT, "--trainer.max_epochs", "20", "--run.test", "false"]
    quiet = ["--run.wandb", "off", "--energy.plot", "false", "--trainer.enable_progress_bar", "false"]
    run_in_a_process([*options, *quiet, "--run.name", "warm"], None)  # imports
    seconds = run_in_a_process([*options, *quiet, "--run.name", "whole"], None)
    whole = weights_of("whole")
    chance = random.Random(1)
    for number in range(int(os.environ.get("TBFT_KILLS", "2"))):
        name = f"killed{number}"
        run_in_a_process([*options, *quiet, "--run.name", name], chance.uniform(0, 1.05) * seconds)
        result, model = (Path("runs", name, file) for file in ("result.json", "model.safetensors"))
        completed = result.exists() and json.loads(result.read_text())["status"] == "completed"
        assert completed or not model.exists() or same(weights_of(name), whole)
        if not completed:
            code, record = run(*options, "--ckpt_path", "last", name=name)
            assert code == 0 and record["epochs"] == 20
        assert same(weights_of(name), whole)


def run_in_a_process(arguments: list[str], seconds: float | None) -> float:
    """Run a command line in a process of its own; kill it after so long, or else return how long it took."""
    forks = multiprocessing.get_context("forkserver")  # the server imports torch and Lightning once for all of them
    forks.set_forkserver_preload(["tbft.command_line.lightning_cli"])
    process = forks.Process(target=command_line, args=(arguments, str(Path.cwd()), torch.get_num_threads()))
    began = time.monotonic()
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    return time.monotonic() - began


def command_line(arguments: list[str], folder: str, threads: int) -> None:
    os.chdir(folder)
    torch.set_num_threads(threads)
    sys.exit(main(arguments))
