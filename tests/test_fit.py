"""The whole path: one command brings a drifted classifier back, and says what it did."""

import csv
import io
import json
import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
import yaml
from bare_trainer import bare_trainer
from lightning.pytorch.callbacks import LambdaCallback

from tbft.callbacks import BlockFreezeCallback
from tbft.cli import main
from tbft.command_line.configured_cli import ArgumentsOnly
from tbft.data import Digits
from tbft.models import read_weights
from tbft.module import ImageClassifier
from tbft.options import presets
from tbft.runs.settings import RunSettings

pytestmark = pytest.mark.numbers


@dataclass(frozen=True)
class Fitted:
    """A run of ``feature.yaml`` with seed 3: its folder, record, and what it printed."""

    folder: Path
    record: dict[str, Any]
    printed: list[str]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder, printed = tmp_path_factory.mktemp("fitted"), io.StringIO()
    options = ("--run.wandb", "off", "--energy.plot", "false", "--trainer.enable_progress_bar", "false")
    with redirect_stdout(printed):
        code = main(
            [
                *("fit", "--config", "feature.yaml", "--seed_everything", "3", *options),
                *("--run.root", str(folder), "--run.name", "run"),
            ]
        )
    assert code == 0
    record = json.loads((folder / "run/result.json").read_text())
    return Fitted(folder / "run", record, printed.getvalue().splitlines())


@pytest.mark.parametrize("level", ["input", "feature", "output"])
def test_each_level_wins_back_at_least_twenty_points(run, level):
    rises = []
    for seed in range(3):
        code, record = run("fit", "--config", f"{level}.yaml", "--seed_everything", str(seed), name=f"s{seed}")
        assert code == 0 and record["status"] == "completed" and record["kept"] == "adapted"
        rises.append(record["accuracy"]["test"] - record["accuracy"]["base"])
    assert mean(rises) >= 0.20


def test_the_record_keeps_its_contract(fitted):
    record = fitted.record
    assert record["schema"] == 1 and record["seed"] == 3 and record["name"] == "run"
    assert record["drift"] == {
        "level": "feature",
        "name": "subpopulation",
        "severity": None,
        "levels": ["feature"],
    }
    assert (record["strategy"], record["blocks"], record["statistics"]) == ("block", ["block3"], "refresh")
    assert 0 <= record["accuracy"]["base"] < record["accuracy"]["validation"] <= 1
    for figure in ("joules", "cpu_seconds", "wall_seconds"):
        booked = record[figure]
        phases = [booked[name] for name in ("prepare", "train", "validate", "save")]
        assert booked["adaptation"] == pytest.approx(sum(phases)) and min(phases) > 0 and booked["test"] > 0
    assert record["parameters"]["trained"] < record["parameters"]["total"]
    assert record["epochs"] == len(record["curve"]) > 0
    assert record["peak_rss_mib"] > 50
    assert set(record["environment"]) >= {"torch", "python", "device", "threads", "machine"}
    assert isinstance(record["energy_source"]["measured"], bool)
    assert re.fullmatch("[0-9a-f]{12}", record["config_hash"])


def test_the_hash_is_of_what_matters(fitted):
    def hash_of(*options):
        return ArgumentsOnly(["fit", "--config", "feature.yaml", *options]).config_hash()

    trainer = ("--trainer.enable_progress_bar", "false")  # which the hash still tells apart
    same = hash_of("--seed_everything", "3", "--run.tags", "[x]", "--energy.country", "DEU", *trainer)
    assert same == fitted.record["config_hash"]
    others = [hash_of(), hash_of("--data.train_size", "200"), hash_of("--energy.budget_seconds", "600")]
    assert len({same, *others}) == 4


@pytest.mark.parametrize(
    ("options", "steps"),  # of 6 batches an epoch
    [
        ({"max_epochs": 2}, 12),
        ({"max_epochs": 2, "limit_train_batches": 0.5}, 6),
        ({"max_epochs": 2, "limit_train_batches": 4, "accumulate_grad_batches": 3}, 4),
        ({"max_epochs": 1, "max_steps": 1000}, 6),
        ({"max_epochs": -1, "max_steps": 8}, 8),
    ],
)
def test_the_schedule_ends_with_the_run(tmp_path, options, steps):
    module = ImageClassifier(base="digits", schedule="one_cycle", optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
    rates = []
    noted = LambdaCallback(on_train_batch_start=lambda t, *_: rates.append(t.optimizers[0].param_groups[0]["lr"]))
    trainer = bare_trainer(
        callbacks=[BlockFreezeCallback(blocks=["fc"]), noted],
        default_root_dir=tmp_path,
        limit_val_batches=0,
        **options,
    )
    trainer.fit(module, datamodule=Digits(train_size=110, test_size=10, image_size=16, batch_size=18))
    assert trainer.global_step == steps
    assert max(rates) == pytest.approx(0.1, rel=0.2) and rates[-1] < 1e-5


def test_the_same_seed_gives_the_same_weights(run, fitted):
    assert run("fit", "--config", "feature.yaml", "--seed_everything", "3")[0] == 0
    a, b = (read_weights(str(folder / "model.safetensors")).weights for folder in (fitted.folder, Path("runs/run")))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_worse_weights_are_not_kept(run):
    # A learning rate that destroys the block, on data that did not drift.
    code, record = run(
        "fit", "--config", "input.yaml", "--data.corruption", "null", "--freeze.statistics", "source",
        "--model.optimizer.lr", "30", "--trainer.max_epochs", "1",
    )  # fmt: skip
    assert code == 0 and record["kept"] == "base"
    assert record["accuracy"]["test"] == record["accuracy"]["base"] > 0.9
    base, kept = read_weights("digits").weights, read_weights("runs/run/model.safetensors").weights
    assert all(torch.equal(base[key], kept[key]) for key in base)


def test_statistics_alone_need_no_training(run):
    code, record = run(
        "fit", "--config", "input.yaml", "--freeze.blocks", "[]", "--trainer.max_epochs", "0", "--freeze.strategy", "bn"
    )
    assert code == 0 and record["strategy"] == "bn" and record["parameters"]["trained"] == 0
    assert record["accuracy"]["test"] > record["accuracy"]["base"] + 0.2


def test_test_validate_and_predict_work_on_what_fit_left(run, capsys, monkeypatch):
    _, record = run("fit", "--config", "output.yaml")
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", "200")
    assert run("test", "--config", "runs/run/config.yaml")[0] == 0
    assert str(record["accuracy"]["test"])[:5] in capsys.readouterr().out
    assert run("validate", "--config", "runs/run/config.yaml")[0] == 0
    assert str(record["accuracy"]["validation"])[:5] in capsys.readouterr().out
    assert run("predict", "--config", "runs/run/config.yaml")[0] == 0
    rows = csv.DictReader(Path("runs/run/predictions.csv").read_text().splitlines())
    hits = [row["class"] == row["truth"] for row in rows]
    assert mean(hits) == pytest.approx(record["accuracy"]["test"], abs=1e-6)


def test_a_new_run_never_writes_over_an_older_one(run, monkeypatch):
    for _ in range(2):
        assert main(["fit", "--config", "output.yaml", "--run.wandb", "off", "--trainer.max_epochs", "1"]) == 0
    folders = sorted(path.parent.name for path in Path("runs").glob("*/result.json"))
    assert len(folders) == 2 and folders[1] == folders[0] + ".2"
    assert run("fit", "--config", "output.yaml", name=folders[0])[0] == 2
    assert main(["fit", "--config", "output.yaml", "--run.wandb", "off", "--run.overwrite", "true"]) == 0
    assert len([*Path("runs").iterdir()]) == 2


@pytest.mark.parametrize(
    ("present", "new", "newest"),
    [
        ([], "x", "x"),
        (["x"], "x.2", "x"),
        (["x.2"], "x.3", "x.2"),
        (["x", "x.10", "x.9", "xy.12", "x.2b"], "x.11", "x.10"),
    ],
)
def test_a_new_runs_number_follows_the_highest(tmp_path, present, new, newest):
    for name in present:
        (tmp_path / name).mkdir()
    settings = RunSettings(root=str(tmp_path))
    assert settings.folder("x").name == new
    assert settings.folder("x", resume=True).name == newest


def test_images_are_normalised_as_the_base_model_expects(run):
    other = ("--model.mean", "[0.2]", "--model.std", "[0.1]")
    assert run("fit", "--config", "base/digits.yaml", "--trainer.max_epochs", "4", *other, name="base")[0] == 0
    test = (
        "--config",
        "strategy/none.yaml",
        "--model.base",
        "runs/base/model.safetensors",
        "--data.corruption",
        "null",
    )
    _, told = run("fit", "--config", "input.yaml", *test, name="told")
    _, given = run("fit", "--config", "input.yaml", *test, *other, name="given")
    _, wrong = run(
        "fit", "--config", "input.yaml", *test, "--model.mean", "[0.5]", "--model.std", "[0.5]", name="wrong"
    )
    assert told["accuracy"]["test"] == given["accuracy"]["test"] > wrong["accuracy"]["test"] + 0.2


def test_diverged_weights_are_never_kept(run, caplog):
    code, record = run("fit", "--config", "input.yaml", "--model.optimizer.init_args.lr", "1e30")
    assert code == 0 and record["kept"] == "base"
    assert record["accuracy"]["test"] == record["accuracy"]["base"]
    assert "diverged" in caplog.text
    assert all(torch.isfinite(value).all() for value in read_weights("runs/run/model.safetensors").weights.values())


def test_a_run_tells_what_it_chose(fitted):
    assert any("data.memory_limit" in line and "kept in memory" in line for line in fitted.printed)
    assert any("block3 is computed once" in line for line in fitted.printed)


def test_metrics_stand_in_a_table(fitted):
    header, *rows = (fitted.folder / "metrics.csv").read_text().splitlines()
    assert {"train/loss", "val/loss", "val/accuracy", "test/accuracy", "val/accuracy_of/ring"} <= set(header.split(","))
    assert len(rows) >= 4


def test_a_base_model_is_trained_by_the_same_command(run):
    code, record = run("fit", "--config", "base/digits.yaml", "--trainer.max_epochs", "8")
    assert code == 0 and record["strategy"] == "base" and record["accuracy"]["base"] is None
    assert record["accuracy"]["test"] > 0.6
    weights = Path("runs/run/model.safetensors").resolve()
    code, record = run("fit", "--config", "output.yaml", "--model.base", str(weights), name="personalized")
    assert code == 0 and record["accuracy"]["test"] > record["accuracy"]["base"]


def test_a_board_is_laid_over_a_level(run):
    for device in ("pi.yaml", "gpu.yaml"):
        options = [
            "--trainer.max_epochs",
            "1",
            "--run.threads",
            "1",
        ]  # more threads wait for one another on a busy machine
        options += ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true"] if device == "gpu.yaml" else []
        code, record = run("fit", "--config", "feature.yaml", "--config", device, *options, name=device[:2])
        assert code == 0 and record["blocks"] == ["block3"]


def test_a_file_in_the_working_folder_wins_over_a_preset(run):
    preset = yaml.safe_load(presets.find("feature.yaml").read_text())
    preset["freeze"] = {"blocks": ["block2"]}
    Path("feature.yaml").write_text(yaml.safe_dump(preset))
    assert run("fit", "--config", "feature.yaml", "--trainer.max_epochs", "1")[1]["blocks"] == ["block2"]


def test_weights_and_biases_can_read_the_run(run):
    import subprocess
    import sys

    code, record = run("fit", "--config", "feature.yaml", "--trainer.max_epochs", "3", wandb="offline")
    assert code == 0
    (folder,) = Path("runs/run/wandb").glob("offline-run-*")
    assert b"block:block3" in next(folder.glob("run-*.wandb")).read_bytes()  # the tag of the block that is tuned
    wandb = Path(sys.executable).parent / "wandb"
    command = [str(wandb), "leet", "inspect", "--json", str(folder)]
    inspected = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert inspected.returncode == 0, inspected.stderr
    shown = inspected.stdout
    lines = [json.loads(line) for line in shown.splitlines()]
    config = next(line["config"]["update"] for line in lines if "data" in line.get("config", {}).get("update", {}))
    assert config["data"]["init_args"]["task"] == "superclasses"
    history = [line["history"]["item"] for line in lines if line["type"] == "history"]
    assert any("val/accuracy" in item for item in history) and any("train/loss" in item for item in history)
    summary = {key: value for line in lines for key, value in line.get("summary", {}).get("update", {}).items()}
    assert summary["joules.adaptation"] == pytest.approx(record["joules"]["adaptation"])
    assert summary["strategy"] == "block"
