"""What runs cost and save: in pairs, with intervals, and without what other programs spent."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from study_stand_in import first_row, record, tables_of, write_blocks, write_record

from tbft.study.reporting.ledger_reading import read_ledger
from tbft.study.reporting.results import joules_to_accuracy
from tbft.study.reporting.table import show


def write_costs(root: Path, costs: list[tuple[float, float]], **changes: Any) -> None:
    """Joules of TBFT and of tuned full fine-tuning, a pair for each seed; twice as many CPU-seconds."""
    first = len(list(root.glob("block*")))
    for seed, pair in enumerate(costs, start=first):
        for strategy, joules in zip(("block", "tuned-full"), pair, strict=True):
            phases = {"joules": {"adaptation": joules}, "cpu_seconds": {"adaptation": 2 * joules}}
            content = record("input", strategy, seed, **phases, peak_rss_mib=500 + 10 * joules)
            write_record(root, f"{strategy}{seed}", {**content, **changes})


BESIDE_OTHERS = {"conditions": {"other_programs_threads": 1.5}}


def test_savings_are_paired_by_drift_and_seed_and_have_intervals(tmp_path: Path) -> None:
    write_costs(tmp_path, [(1.0, 10.0), (4.0, 8.0), (30.0, 100.0)])
    row = first_row(tmp_path, "savings")
    logs = scipy.stats.ttest_1samp(np.log([0.1, 0.5, 0.3]), 0).confidence_interval()
    expected = [100 * (1 - x) for x in (scipy.stats.gmean([0.1, 0.5, 0.3]), np.exp(logs.high), np.exp(logs.low))]
    for saved in (row["joules saved %"], row["CPU s saved %"]):
        assert [saved.value, saved.low, saved.high] == pytest.approx(expected)
    assert row["memory ratio"].value == pytest.approx(np.median([510 / 600, 540 / 580, 800 / 1500]))
    assert row["pairs"] == 3


def test_joules_of_runs_beside_other_programs_are_left_out_or_marked(tmp_path: Path) -> None:
    write_costs(tmp_path, [(1.0, 10.0)], **BESIDE_OTHERS)
    row = first_row(tmp_path, "savings")
    assert (show(row["joules saved %"]), show(row["CPU s saved %"])) == ("90.00*", "90.00")
    assert show(first_row(tmp_path, "cost")["joules"]) == "1.00*"
    write_costs(tmp_path, [(5.0, 10.0), (5.0, 10.0)])
    row = first_row(tmp_path, "savings")
    assert (show(row["joules saved %"]), row["pairs"], row["pairs of joules"]) == ("50.00 [50.00, 50.00]", 3, 2)
    assert row["CPU s saved %"].value == pytest.approx(100 * (1 - scipy.stats.gmean([0.1, 0.5, 0.5])))
    assert first_row(tmp_path, "cost")["joules"].n == 2


def test_cpu_seconds_of_spinning_threads_are_left_out_or_marked(tmp_path: Path) -> None:
    write_costs(tmp_path, [(1.0, 10.0)], conditions={"cpu_seconds_inflated": True})
    assert show(first_row(tmp_path, "savings")["CPU s saved %"]) == "90.00*"
    notes = " ".join(tables_of(tmp_path)["cost"].notes)
    assert "In 2 of 2 runs several threads waited for one another" in notes
    write_costs(tmp_path, [(5.0, 10.0), (5.0, 10.0)])
    assert show(first_row(tmp_path, "savings")["CPU s saved %"]) == "50.00 [50.00, 50.00]"


def test_the_pairs_of_savings_are_those_of_its_points(tmp_path: Path) -> None:
    for drift, seed in (("fog", 0), ("snow", 0), ("fog", 1)):
        write_blocks(tmp_path, "input", 1000, seed, {"block": 0.6, "tuned-full": 0.5}, drift)
    row = first_row(tmp_path, "savings")
    assert (row["pairs"], row["CPU s saved %"].n, row["points"].n) == (2, 2, 2)


def test_energy_to_accuracy_is_saved_in_pairs_that_both_reach(tmp_path: Path) -> None:
    write_costs(tmp_path, [(2.0, 10.0), (5.0, 10.0)], curve=[], accuracy={"validation": 0.7, "test": 0.7})
    missed = {"validation": 0.6, "test": 0.7}
    write_record(tmp_path, "block1", record("input", "block", 1, curve=[], accuracy=missed))
    row = first_row(tmp_path, "energy_to_accuracy")
    assert (row["runs that reach it"], show(row["joules saved vs it %"])) == ("1 of 2", "80.00")


def test_other_programs_at_work_are_told(tmp_path: Path) -> None:
    for seed, threads in enumerate((0.0, 1.5)):
        found = {"other_programs_threads": threads}
        write_record(tmp_path, f"run{seed}", record("input", "block", seed, conditions=found))
    notes = " ".join(tables_of(tmp_path)["cost"].notes)
    assert "at work in 1 of 2 runs" in notes


def test_a_void_run_keeps_its_accuracy_but_not_its_cost(tmp_path: Path) -> None:
    write_record(tmp_path, "a", record("input", "block", 0, joules={"adaptation": 10.0}))
    write_record(tmp_path, "b", record("input", "block", 1, joules={"adaptation": 990.0}, void="throttled"))
    tables = tables_of(tmp_path)
    assert tables["cost"].rows[0][7].value == 10.0
    assert tables["accuracy"].rows[0][6].n == 2
    assert tables["problems"].rows == (("b", "void", "its cost is left out: throttled"),)


def test_energy_to_accuracy_is_that_of_the_first_validation_that_reaches_it(tmp_path: Path) -> None:
    write_record(tmp_path, "run", record("input", "block", 0))
    (run,), _ = read_ledger(tmp_path)
    middle = run.curve[1]
    assert joules_to_accuracy(run, middle.accuracy) == middle.joules
    assert joules_to_accuracy(run, middle.accuracy + 1e-9) == run.curve[2].joules
    assert joules_to_accuracy(run, 1.0) is None
    whole = replace(run, curve=())
    assert joules_to_accuracy(whole, run.accuracy["validation"]) == run.joules["adaptation"]
    assert joules_to_accuracy(whole, 1.0) is None


def test_shared_machines_are_told(tmp_path: Path) -> None:
    write_record(tmp_path, "run", record("input", "block", 0, shared_machine=True))
    assert any("shared their machine" in note for note in tables_of(tmp_path)["cost"].notes)
