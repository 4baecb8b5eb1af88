"""Energy in a run: budgets that stop it, the picture of its power, and options that are refused before it begins."""

import itertools
import os
from pathlib import Path

import pytest
import torch

from tbft.callbacks import EnergyCallback
from tbft.runs.settings import RunSettings

FIT = [
    "fit", "--config", "feature.yaml", "--model.number_format", "plain", "--freeze.statistics", "source",
    "--run.threads", "1",
]  # fmt: skip
MODEL = ["--energy.sources", "model"]

REFUSED = {
    "source": (["--energy.sources", "pmic"], "no power source 'pmic'"),
    "rail": (["--energy.rail", "VDD_NOWHERE"], "VDD_NOWHERE"),
    "shunt without a sensor": (["--energy.shunt_ohms", "0.1"], "no current sensor"),
    "shunt of nothing": (["--energy.shunt_ohms", "0"], "shunt_ohms is 0"),
    "country": (["--energy.country", "ATLANTIS"], "three-letter ISO code"),
    "rate": (["--energy.rate_hz", "0"], "energy.rate_hz is 0"),
    "idle time": (["--energy.idle_seconds", "-1"], "energy.idle_seconds is -1"),
    "joules": (["--energy.budget_joules", "-5"], "energy.budget_joules is -5"),
    "seconds": (["--energy.budget_seconds", "0"], "energy.budget_seconds is 0"),
    "threads": (["--run.threads", "0"], "run.threads is 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_metered_is_refused_before_anything_is_written(run, capsys, monkeypatch, case):
    monkeypatch.setattr("tbft.energy.sensors.hwmon.find", lambda *args: [])  # whatever sensors this machine has
    monkeypatch.setattr("tbft.energy.sensors.finder.shutil.which", lambda name: None)
    options, words = REFUSED[case]
    code, record = run(*FIT, *options)
    err = capsys.readouterr().err
    assert code == 2 and words in err and len(err.strip().splitlines()) == 1
    assert not record and not any(Path.cwd().iterdir())


@pytest.mark.parametrize("budget", ["budget_joules", "budget_seconds"])
def test_a_budget_ends_the_training_and_keeps_the_best_so_far(run, monkeypatch, budget):
    steps = itertools.count()
    monkeypatch.setattr(
        EnergyCallback, "spent", lambda self: (next(steps), 0) if "joules" in budget else (0, next(steps))
    )
    code, record = run(*FIT, *MODEL, "--trainer.max_epochs", "100000", f"--energy.{budget}", "80")
    assert code == 0 and record["status"] == "completed" and record["stopped_by"] == budget
    assert record["epochs"] > 1 and record["steps"] <= 80
    best = min(record["curve"], key=lambda point: point["validation_loss"])
    assert record["kept"] == "adapted"
    assert record["accuracy"]["validation"] == pytest.approx(best["validation_accuracy"])
    assert Path("runs/run/model.safetensors").is_file()


def test_a_budget_that_preparing_used_up_leaves_no_training(run):
    code, record = run(*FIT, *MODEL, "--energy.budget_seconds", "1e-6")
    assert code == 0 and record["status"] == "completed" and record["stopped_by"] == "budget_seconds"
    assert record["steps"] == 0 and record["curve"] == []
    assert record["accuracy"]["test"] == pytest.approx(record["accuracy"]["base"])


def test_a_run_within_its_budget_is_not_stopped(run):
    _, record = run(*FIT, *MODEL, "--trainer.max_epochs", "1", "--energy.budget_joules", "1e9")
    assert record["stopped_by"] is None and record["epochs"] == 1


def test_the_power_of_a_run_is_drawn_beside_its_record_and_in_weights_and_biases(run):
    code, _ = run(*FIT, "--trainer.max_epochs", "2", "--energy.plot", "true", wandb="offline")
    assert code == 0 and Path("runs/run/power.png").read_bytes().startswith(b"\x89PNG")
    (logged,) = Path("runs/run/wandb").glob("offline-run-*/files/media/images/power_*.png")
    assert logged.read_bytes() == Path("runs/run/power.png").read_bytes()


def test_a_picture_that_cannot_be_drawn_does_not_fail_the_run(run, monkeypatch, caplog):
    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr("tbft.energy.metering.power_plot.plot_power", fail)
    code, record = run(*FIT, "--trainer.max_epochs", "1", "--energy.plot", "true")
    assert code == 0 and record["status"] == "completed" and "no space left" in caplog.text


def test_an_interrupted_run_does_not_wait_to_watch_the_machine_at_rest(run, monkeypatch):
    from tbft.module import ImageClassifier

    def interrupt(self, batch, batch_idx):
        raise KeyboardInterrupt

    def idle(name):
        return run(*FIT, *MODEL, "--energy.idle_seconds", "0.2", "--trainer.max_epochs", "1", name=name)

    assert set(idle("whole")[1]["idle"]) == {"before_watts", "after_watts"}
    monkeypatch.setattr(ImageClassifier, "training_step", interrupt)
    code, record = idle("broken")
    assert code == 130 and record["status"] == "interrupted" and set(record["idle"]) == {"before_watts"}


def test_a_sensor_is_corrected_by_its_true_shunt(tmp_path, monkeypatch):
    from energy_world import chip

    from tbft.energy import find_sources

    folder = chip(tmp_path, 0, "ina219", power1_input=4_000_000)
    (folder / "shunt_resistor").write_text("10000\n")  # microohms, what the driver assumes
    callback = EnergyCallback(shunt_ohms=0.1, codecarbon=False)
    (source,) = find_sources(shunt_ohms=callback.settings["shunt_ohms"], sysfs=tmp_path, vcgencmd="no-such-program")[:1]
    assert source.read() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--frob", "1"], "--frob"),
        (["--seconds", "abc"], "abc"),
        (["--seconds", "-1"], "--seconds is -1"),
        (["--rail", "VDD_NOWHERE"], "VDD_NOWHERE"),
    ],
)
def test_the_meter_explains_bad_usage_in_one_line(run, capsys, options, words):
    code, _ = run("meter", *options)
    out, err = capsys.readouterr()
    assert code == 2 and words in err and len(err.strip().splitlines()) == 1 and not out


def test_the_meter_reads_this_machine_and_explains_itself(run, capsys):
    assert run("meter", "--seconds", "0.1")[0] == 0
    assert "model:cpu_load" in capsys.readouterr().out
    assert run("meter", "--help")[0] == 0
    help_text = capsys.readouterr().out
    assert "--seconds" in help_text and max(map(len, help_text.splitlines())) <= 80
    by_trust = ["hwmon:<chip>", "pmic", "rapl, nvml", "model:cpu_load"]
    assert sorted(by_trust, key=help_text.index) == by_trust


@pytest.mark.parametrize(("asked", "used"), [(1, 1), (10_000, len(os.sched_getaffinity(0)))])
def test_torch_computes_with_the_threads_asked_for_but_no_more_than_there_are_cores(asked, used):
    before = torch.get_num_threads()
    try:
        RunSettings(threads=asked).use_threads()
        assert torch.get_num_threads() == used
    finally:
        torch.set_num_threads(before)
