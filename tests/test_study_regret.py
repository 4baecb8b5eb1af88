"""The tables of a study of runs that nobody named the drift for, from records made up so that each figure is known."""

from pathlib import Path
from typing import Any

import pytest
from study_stand_in import first_row, record, tables_of, write_record

from tbft.study.reporting.diagnosis_tables import f1_by_level

TRUE = {"fog": ["input"], "flip": ["output"], "none": []}


def climb(
    drift: str, test: float, told: list[str], *, base: float = 0.5, labelled: bool = True, **changes: Any
) -> dict:
    """A record of a run that nobody named the drift for."""
    steps = {("keep",): base, ("refresh", "head"): 0.7, ("relabel",): 0.8} if labelled else {}
    content = strategy("auto", drift, test, base=base, cpu=2.0, **changes)
    content["drift"]["diagnosed"] = told
    content["diagnosis"] = {
        "labelled": labelled,
        "estimated_accuracy": None if labelled else {"value": 0.52, "low": 0.4, "high": 0.6},
        "estimated_accuracy_after": None if labelled else {"value": 0.71, "low": 0.4, "high": 0.8},
    }
    content["remedies"] = [{"remedies": list(names), "cost": 1.0, "test": value} for names, value in steps.items()]
    return content


def strategy(name: str, drift: str, test: float, *, base: float = 0.5, cpu: float = 20.0, **changes: Any) -> dict:
    content = record("input", name, 0, **{"blocks": ["block1"], **changes})
    content["drift"] = {"level": None, "name": drift, "severity": None, "levels": TRUE[drift]}
    content["accuracy"] = {"base": base, "validation": None, "test": test}
    content["cpu_seconds"]["adaptation"] = cpu
    return content


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    write_record(tmp_path, "fog auto", climb("fog", 0.74, ["input"]))
    write_record(tmp_path, "fog unlabelled", climb("fog", 0.75, ["input"], labelled=False))
    write_record(tmp_path, "fog full", strategy("tuned-full", "fog", 0.76))
    write_record(tmp_path, "flip auto", climb("flip", 0.78, ["output", "input"]))
    write_record(tmp_path, "none auto", climb("none", 0.8, [], base=0.8, kept="base"))
    write_record(tmp_path, "none unlabelled", climb("none", 0.77, [], base=0.8, labelled=False))
    return tmp_path


def rows_of(ledger: Path, name: str) -> list[dict[str, Any]]:
    table = tables_of(ledger)[name]
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_regret_counts_against_the_best_of_all_strategies_and_combinations(ledger: Path) -> None:
    rows = {row["strategy"]: row for row in rows_of(ledger, "regret")}
    # The best are 0.8 (relabelled) at each drift.
    lost = {
        "auto": [6, 2, 0],
        "auto-unlabelled": [5, 3],
        "tuned-full": [4],
        "none": [30, 30, 0],
        "always refresh + head": [10, 10, 10],
    }
    for name, points in lost.items():
        assert rows[name]["mean regret"] == pytest.approx(sum(points) / len(points)), name
        assert rows[name]["cells"] == len(points)
    assert rows["auto"]["95th percentile"] == pytest.approx(5.6)
    assert rows["auto"]["over always refresh + head"].value == pytest.approx((4 + 8 + 10) / 3)


def test_cost_is_a_share_of_full_fine_tunings_where_that_ran(ledger: Path) -> None:
    (row,) = rows_of(ledger, "adaptation_share")
    assert (row["level"], row["images"], row["full: CPU-seconds"]) == ("input", 1000, 20.0)
    assert row["auto"] == pytest.approx(10) and row["tuned-full"] == pytest.approx(100)


def test_the_diagnosis_is_compared_with_what_drifted(ledger: Path) -> None:
    row = first_row(ledger, "diagnosis")
    assert row["F1 input"] == pytest.approx(2 / 3) and row["F1 output"] == 1 and row["F1 prior"] is None
    assert row["macro-F1"] == pytest.approx(5 / 6) and row["same set %"] == pytest.approx(200 / 3)
    assert (row["no drift: untouched %"], row["no drift: more than 1 point lost %"]) == (100, 0)
    assert f1_by_level([(frozenset({"prior"}), frozenset())]) == {"prior": 0}


def test_without_labels_the_estimates_are_compared_with_the_test_images(ledger: Path) -> None:
    rows = {row["level"]: row for row in rows_of(ledger, "label_free")}
    assert rows["input"]["over tuned-full with labels"] == pytest.approx(-1)
    assert rows["input"]["error of estimate, base"] == pytest.approx(2)
    assert rows["input"]["error of estimate, kept"] == pytest.approx(4)
    assert rows["none"]["more than 1 point below the base %"] == 100
    assert rows["all"]["more than 1 point below the base %"] == 50 and rows["all"]["runs"] == 2


def test_a_ledger_without_hindsight_has_none_of_these_tables(tmp_path: Path) -> None:
    content = climb("fog", 0.74, ["input"])
    content["remedies"] = [{"remedies": ["keep"], "cost": 1.0}]
    write_record(tmp_path, "fog auto", content)
    assert not {"drifts", "regret", "adaptation_share", "diagnosis", "label_free"} & set(tables_of(tmp_path))
