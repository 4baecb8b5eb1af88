"""What a run's process costs: its children, several runs in one process, the adaptation's own peak memory."""

from __future__ import annotations

import mmap
import subprocess
import sys
import time

import pytest

from tbft.callbacks import EnergyCallback
from tbft.energy.metering.process_cost import ProcessCost, up_to_exit
from tbft.energy.run_meter import RunMeter
from tbft.energy.sensors.cpu_time import tree_cpu_seconds

FIT = ["fit", "--config", "output.yaml", "--model.number_format", "plain", "--run.threads", "1"]
BUSY_CHILD = """
import sys, time
while time.process_time() < 0.5:
    pass
print("done", flush=True)
sys.stdin.read()
"""


def begun_cost() -> ProcessCost:
    cost = ProcessCost()
    cost.begin()
    return cost


def spin(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_a_child_counts_while_it_runs_and_after_its_end_and_only_once():
    before = tree_cpu_seconds()
    child = subprocess.Popen([sys.executable, "-c", BUSY_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"done\n"
    running = tree_cpu_seconds() - before
    child.communicate()
    ended = tree_cpu_seconds() - before
    assert 0.45 <= running <= ended < running + 0.4


def test_a_later_run_of_a_process_pays_for_itself_alone():
    begun_cost()
    spin(0.3)
    cost = begun_cost()
    spin(0.2)
    record = cost.record()
    assert record["since"] == "run start"
    assert 0.2 <= record["cpu_seconds"] < 0.45
    assert record["wall_seconds"] >= 0.2


def test_two_runs_in_one_process_do_not_add_up(run):
    (_, first), (_, second) = (run(*FIT, name=name) for name in ("first", "second"))
    both = first["process_cpu_seconds"] + second["process_cpu_seconds"]
    assert second["process"]["since"] == "run start"
    assert second["process_cpu_seconds"] < 0.75 * both
    assert second["process_cpu_seconds"] >= second["cpu_seconds"]["adaptation"]


def test_the_peak_memory_is_the_adaptations_and_not_that_of_testing(run, monkeypatch):
    if not begun_cost()._peak_counts_anew:
        pytest.skip("the kernel does not let a process reset its peak memory")
    end = EnergyCallback.end_adaptation

    def test_with_much_memory(self):
        end(self)
        with mmap.mmap(-1, 300 * 2**20) as memory:
            for page in range(0, len(memory), mmap.PAGESIZE):
                memory[page] = 1

    _, lean = run(*FIT, name="lean")
    monkeypatch.setattr(EnergyCallback, "end_adaptation", test_with_much_memory)
    _, record = run(*FIT)
    assert record["process"]["peak_rss_mib"] < lean["process"]["peak_rss_mib"] + 150
    assert record["process"]["peak_rss_mib"] >= record["peak_rss_mib"]


def metered(**changes):
    """What a meter that ran for 20 s at 10 W recorded: 4 s of training, 6 s of testing, 10 s outside of the phases."""
    seconds = {"prepare": 0.0, "train": 4.0, "validate": 0.0, "save": 0.0, "test": 6.0, "adaptation": 4.0}
    return {
        "wall_seconds": seconds,
        "cpu_seconds": seconds,
        "joules": {phase: 10 * value for phase, value in seconds.items()},
        "outside_phases": {"joules": 100.0, "wall_seconds": 10.0},
        **changes,
    }


def test_joules_outside_the_meters_time_are_those_of_its_mean_power(monkeypatch):
    cost = begun_cost()
    cost._start = time.time() - 32.0
    record = cost.record(metered(), reading_test=(0.5, 2.0))
    assert record["mean_watts"] == pytest.approx(10.0)
    assert record["joules"] == pytest.approx(320.0, abs=5.0)
    assert record["test"] == pytest.approx({"cpu_seconds": 6.5, "wall_seconds": 8.0, "joules": 80.0})


def test_a_process_is_counted_up_to_its_end_and_never_below_what_it_saw_itself():
    seen = begun_cost().record(metered()) | {"cpu_seconds": 5.0, "wall_seconds": 30.0, "joules": 300.0}
    ended = up_to_exit(seen, cpu_seconds=5.5, wall_seconds=31.0)
    assert (ended["until"], ended["cpu_seconds"], ended["joules"]) == ("exit", 5.5, pytest.approx(310.0))
    assert up_to_exit(seen, cpu_seconds=4.0, wall_seconds=29.0)["cpu_seconds"] == 5.0


def test_reading_and_scoring_test_images_can_be_told_from_the_rest_of_the_process(run):
    _, record = run(*FIT)
    test = record["process"]["test"]
    assert test["cpu_seconds"] >= record["cpu_seconds"]["test"] > 0
    rest = record["process"]["cpu_seconds"] - test["cpu_seconds"]
    assert rest >= record["cpu_seconds"]["adaptation"]
    assert record["process"]["joules"] - test["joules"] >= record["joules"]["adaptation"]


def test_what_is_made_and_never_begins_is_no_run():
    meter = RunMeter()
    meter.process.begin()
    if not meter.process._peak_counts_anew:
        pytest.skip("the kernel does not let a process reset its peak memory")
    begun = ProcessCost._begun
    with mmap.mmap(-1, 200 * 2**20) as memory:
        for page in range(0, len(memory), mmap.PAGESIZE):
            memory[page] = 1
    peak = meter.peak_rss_mib
    EnergyCallback()
    assert ProcessCost._begun == begun
    assert meter.peak_rss_mib == pytest.approx(peak, abs=50)


def test_a_resumed_run_does_not_pass_its_last_process_off_as_the_whole():
    meter = RunMeter()
    meter.load_state_dict({"joules": {"adaptation": 1.0}})
    assert meter.process_record()["since"] == "resume"


def test_only_an_adaptation_is_metered(run, monkeypatch):
    run(*FIT)

    def refuse(self):
        raise AssertionError("the meter was started")

    monkeypatch.setattr("tbft.energy.EnergyMeter.start", refuse)
    options = ["--energy.idle_seconds", "60", "--trainer.enable_progress_bar", "false"]
    for command in ("validate", "test", "predict"):
        assert run(command, "--config", "runs/run/config.yaml", *options)[0] == 0
