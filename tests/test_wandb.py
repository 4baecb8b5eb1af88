"""Weights & Biases: who is logged in, and what a run does when the server or the service is gone."""

import os
import re
from pathlib import Path

import psutil
import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import CSVLogger

from tbft.adaptation.keep_best import KeepBest
from tbft.runs.wandb_logger import RunLogger, is_logged_in

FIT = ["fit", "--config", "output.yaml", "--model.number_format", "plain", "--run.threads", "1"]
KEY = "0123456789" * 4


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch):
    """Nobody is logged in, no server answers, and what a test leaves behind is undone."""
    monkeypatch.setattr(os, "environ", os.environ.copy())  # RunLogger sets variables itself
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    _forget_wandb()
    yield
    _forget_wandb()


def _forget_wandb():
    import wandb

    wandb.teardown()


def test_who_is_logged_in_is_for_wandb_to_say(tmp_path, monkeypatch):
    assert not is_logged_in()
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine elsewhere.example login user password {KEY}\n")
    assert not is_logged_in()
    netrc.write_text(f"machine 127.0.0.1:9 login user password {KEY}\n")
    assert is_logged_in()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert not is_logged_in()


def test_a_key_in_the_environment_is_a_login_and_a_broken_one_is_none(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "no key")
    assert not is_logged_in()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert is_logged_in()


def test_online_without_a_network_trains_offline_and_names_the_way_to_upload(run, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    code, record = run(*FIT, wandb="online")
    assert code == 0 and record["status"] == "completed" and record["accuracy"]["test"] > record["accuracy"]["base"]
    (message,) = [entry.message for entry in caplog.records if "Weights & Biases" in entry.message]
    assert "127.0.0.1:9" in message and "\n" not in message
    (folder,) = Path("runs/run/wandb").glob("*run-*-*")
    assert folder.name.startswith("offline-run-") and list(folder.glob("run-*.wandb"))
    assert Path(re.search(r"wandb sync (\S+)`", message)[1]) == folder.resolve()


def test_online_without_a_login_asks_nobody_and_logs_offline(run, caplog):
    code, _ = run(*FIT, wandb="online")
    assert code == 0 and "wandb login" in caplog.text and "wandb sync" in caplog.text
    assert list(Path("runs/run/wandb").glob("offline-run-*"))


def test_a_killed_service_costs_the_tracking_and_not_the_run(run, monkeypatch, caplog):
    begin = KeepBest.remember_base

    def kill_service(self, network):
        for child in psutil.Process().children(recursive=True):
            if child.name().startswith("wandb"):
                child.kill()
                child.wait(5)
        begin(self, network)

    monkeypatch.setattr(KeepBest, "remember_base", kill_service)
    code, record = run(*FIT, wandb="offline")
    assert code == 0 and record["status"] == "completed"
    (message,) = [entry.message for entry in caplog.records if "Weights & Biases" in entry.message]
    assert "wandb sync" in message and "\n" not in message


def test_a_folder_that_cannot_be_written_costs_the_tracking_and_not_the_run(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    logger = RunLogger(blocked, "run", "project", True, None, [])
    logger.log_metrics({"loss": 1.0}, 1)
    logger.finish({"status": "completed"})
    assert caplog.text.count("Weights & Biases failed") == 1


@pytest.mark.parametrize("home", [None, "/proc/home"])
def test_without_a_home_its_service_has_a_folder_for_its_log(tmp_path, monkeypatch, home):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    if home:
        monkeypatch.setenv("HOME", home)
    RunLogger(tmp_path, "run", "tbft", True, None, [])
    assert os.access(os.environ["XDG_CACHE_HOME"], os.W_OK)


def test_the_progress_bar_has_no_part_of_the_runs_name(tmp_path):
    trainer = Trainer(
        logger=[CSVLogger(tmp_path, name="", version=""), RunLogger(tmp_path, "run", "p", True, None, [])]
    )
    assert ProgressBar().get_metrics(trainer, LightningModule()) == {}
