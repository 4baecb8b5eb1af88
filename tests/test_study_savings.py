"""What the savings table promises: whole processes, like with like, intervals by drift, and where its runs are from."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from study_stand_in import record, tables_of, write_record

from tbft.study.reporting.apart import set_apart
from tbft.study.reporting.intervals import clustered_interval, stratified_interval
from tbft.study.reporting.ledger_reading import read_ledger
from tbft.study.reporting.results import Results
from tbft.study.reporting.table import to_csv, to_markdown
from tbft.study.reporting.tables import all_tables

LEDGERS = Path(__file__).parent.parent / "notebooks" / "ledgers"


def write_run(root: Path, strategy: str, cpu: float, drift: str = "fog", seed: int = 0, **changes: Any) -> str:
    """A record that says what its adaptation cost in CPU-seconds; give its key."""
    content = record("input", strategy, seed, cpu_seconds={"adaptation": cpu}, **changes)
    content["drift"]["name"] = drift
    key = f"{drift}-{strategy}-{seed}"
    write_record(root, key, content)
    return key


def process(cpu_seconds: float, **changes: Any) -> dict[str, Any]:
    """The cost of a process, of which 2 CPU-seconds and 20 joules are the test's."""
    test = {"cpu_seconds": 2.0, "joules": 20.0, "wall_seconds": 2.0}
    whole = {"cpu_seconds": cpu_seconds + 2, "joules": 10 * cpu_seconds + 20, "test": test}
    return {"process": {"since": "process start", "until": "exit", **whole, **changes}}


def rows_of(root: Path, table: str = "savings") -> list[dict[str, Any]]:
    """Our own rows by their headings."""
    found = tables_of(root)[table]
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows if row[0] == "ours"]


def notes_of(root: Path) -> str:
    return " ".join(tables_of(root)["savings"].notes)


def t_interval(values: Iterable[float]) -> tuple[float, float]:
    found = scipy.stats.ttest_1samp(list(values), 0).confidence_interval()
    return float(found.low), float(found.high)


def test_a_cluster_counts_once_however_many_values_it_has() -> None:
    found = clustered_interval([[1.0, 3.0], [5.0, 5.0, 8.0], [4.0]])
    assert found is not None
    assert (found.low, found.high) == pytest.approx(t_interval([2.0, 6.0, 4.0]))
    assert (found.value, found.n) == (pytest.approx(4.0), 6)
    more = clustered_interval([[1.0, 3.0] * 50, [5.0, 5.0, 8.0] * 50, [4.0] * 50])
    assert more is not None and more.low == pytest.approx(found.low)
    assert clustered_interval([]) is None


def test_the_interval_over_strata_is_welchs() -> None:
    one, other = [3.0, 4.0, 8.0], [10.0, 10.5, 9.0, 9.5]
    welch = scipy.stats.ttest_ind(one, [-value for value in other], equal_var=False).confidence_interval()
    found = stratified_interval([one, other])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((welch.low / 2, welch.high / 2))
    single = stratified_interval([one, [1.0]])
    assert single is not None and (single.value, single.low) == (pytest.approx(3.0), None)


def test_intervals_are_over_drifts_where_a_level_has_several(tmp_path: Path) -> None:
    costs = {("fog", 0): 2.0, ("fog", 1): 3.0, ("snow", 0): 1.0, ("snow", 1): 1.5, ("rain", 0): 4.0, ("rain", 1): 5.0}
    accuracy = {"base": 0.1, "validation": 0.5}
    for (drift, seed), cpu in costs.items():
        write_run(tmp_path, "block", cpu, drift, seed, accuracy={**accuracy, "test": 0.5 + cpu / 100})
        write_run(tmp_path, "tuned-full", 10.0, drift, seed, accuracy={**accuracy, "test": 0.5})
    (row,) = (row for row in rows_of(tmp_path) if row["level"] == "input")
    logs = np.log(np.array([[2.0, 3.0], [1.0, 1.5], [4.0, 5.0]]) / 10).mean(axis=1)
    low, high = t_interval(logs)
    saved = row["CPU s saved %"]
    assert [saved.low, saved.high] == pytest.approx([100 * (1 - np.exp(high)), 100 * (1 - np.exp(low))])
    assert (row["points"].low, row["points"].high) == pytest.approx(t_interval([2.5, 1.25, 4.5]))
    assert (row["interval over"], row["pairs"]) == ("3 drifts", 6)


def test_one_drift_alone_says_that_its_interval_is_over_seeds(tmp_path: Path) -> None:
    for seed, cpu in enumerate((2.0, 3.0, 4.0)):
        write_run(tmp_path, "block", cpu, seed=seed)
        write_run(tmp_path, "tuned-full", 10.0, seed=seed)
    (row,) = rows_of(tmp_path)
    low, high = t_interval(np.log([0.2, 0.3, 0.4]))
    assert [row["CPU s saved %"].low, row["CPU s saved %"].high] == pytest.approx(
        [100 * (1 - np.exp(high)), 100 * (1 - np.exp(low))]
    )
    assert row["interval over"] == "3 seeds"
    assert "over the seeds of its one drift where not, which says nothing of other drifts" in notes_of(tmp_path)


def test_the_whole_process_is_compared_without_its_test(tmp_path: Path) -> None:
    write_run(tmp_path, "block", 1.0, **process(5.0))
    write_run(tmp_path, "tuned-full", 10.0, **process(20.0))
    (row,) = rows_of(tmp_path)
    assert row["CPU s saved %"].value == pytest.approx(90.0)
    assert row["CPU s saved, whole process %"].value == pytest.approx(75.0)
    assert row["joules saved, whole process %"].value == pytest.approx(75.0)
    assert rows_of(tmp_path, "cost")[0]["CPU s, whole process"].value == pytest.approx(5.0)
    assert "without testing and reading the test images" in notes_of(tmp_path)
    table = tables_of(tmp_path)["savings"]
    line = next(csv.DictReader(to_csv(table).splitlines()))
    assert float(line["CPU s saved, whole process %"]) == pytest.approx(75.0)
    assert "| CPU s saved, whole process % |" in to_markdown(table)


@pytest.mark.parametrize("changes", [{"until": "record"}, {"since": "run start"}, {"since": "resume"}])
def test_a_process_that_is_not_the_runs_own_from_start_to_end_is_not_compared(
    changes: dict[str, str], tmp_path: Path
) -> None:
    write_run(tmp_path, "block", 1.0, **process(5.0, **changes))
    write_run(tmp_path, "tuned-full", 10.0, **process(20.0))
    (row,) = rows_of(tmp_path)
    assert row["CPU s saved, whole process %"] is None
    assert row["CPU s saved %"].value == pytest.approx(90.0)
    assert "Whole process" not in notes_of(tmp_path)


def test_the_adaptive_strategy_and_opponents_in_the_same_format_have_rows_of_their_own(tmp_path: Path) -> None:
    costs = {"block": 1.0, "auto": 2.0, "tuned-full": 20.0, "tuned-full-amp": 10.0, "paper-full": 40.0}
    for strategy, cpu in costs.items():
        number_format = "channels_last" if strategy in ("tuned-full", "paper-full") else "bf16"
        write_run(tmp_path, strategy, cpu, environment={"number_format": number_format})
    found = {(row["TBFT"], row["against"]): row for row in rows_of(tmp_path)}
    assert list(found) == [(t, o) for t in ("block", "auto") for o in ("tuned-full", "tuned-full-amp", "paper-full")]
    saved = {names: round(row["CPU s saved %"].value, 1) for names, row in found.items()}
    assert (saved["auto", "tuned-full-amp"], saved["block", "tuned-full-amp"]) == (80.0, 90.0)
    assert found["auto", "tuned-full"]["formats"] == "bf16 / fp32"
    assert found["auto", "tuned-full-amp"]["formats"] == "bf16 / bf16"
    notes = notes_of(tmp_path)
    assert "nobody names the drift level" in notes and "automatic mixed precision" in notes
    assert "bf16 (block, auto, tuned-full-amp), fp32 (tuned-full, paper-full)" in notes


def write_study(root: Path, drifts: dict[str, str], **environment: str) -> None:
    """A ledger with `block` and `tuned-full` at each drift, whose cells say what kind it is."""
    cells = {}
    for drift, kind in drifts.items():
        for strategy, cpu in (("block", 1.0), ("tuned-full", 10.0)):
            key = write_run(root, strategy, cpu, drift, environment={"machine": "board-a", **environment})
            part = {"part": kind} if kind else {}
            cells[key] = {"labels": {**part, "drift": drift, "strategy": strategy, "seed": "0"}}
    (root / "study.json").write_text(json.dumps({"schema": 1, "cells": cells}))


def test_development_and_held_out_drifts_stand_apart(tmp_path: Path) -> None:
    write_study(tmp_path, {"fog": "development", "snow": "held out", "rain": "held out"})
    found = {row["variant"]: row["interval over"] for row in rows_of(tmp_path)}
    assert found == {"development": "", "held out": "2 drifts"}
    assert "held out: on which nothing was tuned" in notes_of(tmp_path)
    assert {row["variant"] for row in rows_of(tmp_path, "accuracy")} == {"development", "held out"}
    (setting,) = Results(read_ledger(tmp_path)[0]).settings()  # figures show all drifts in one panel
    assert setting.variant == ""


def test_two_ledgers_with_the_same_cells_stand_side_by_side(tmp_path: Path) -> None:
    write_study(tmp_path / "avx512", {"fog": ""}, instructions="AVX512")
    write_study(tmp_path / "avx2", {"fog": "", "snow": ""}, instructions="AVX2")
    assert [row["variant"] for row in rows_of(tmp_path)] == ["avx2", "avx512"]
    once = set_apart(Results(read_ledger(tmp_path)[0]))
    assert set_apart(once).settings() == once.settings()
    assert "board-a (AVX2); board-a (AVX512)" in notes_of(tmp_path)
    write_study(tmp_path / "avx512", {"rain": ""})
    (tmp_path / "avx512" / "fog-block-0" / "result.json").unlink()
    (tmp_path / "avx512" / "fog-tuned-full-0" / "result.json").unlink()
    assert [row["variant"] for row in rows_of(tmp_path)] == [""]  # one goes on where the other ends


def test_the_notes_tell_the_revision_and_warn_where_a_ledger_mixes_them(tmp_path: Path) -> None:
    write_run(tmp_path, "block", 1.0, environment={"revision": "aaa"})
    write_run(tmp_path, "tuned-full", 10.0, environment={"revision": "aaa"})
    assert "All runs are of revision aaa." in notes_of(tmp_path)
    write_run(tmp_path, "tuned-full", 10.0, environment={"revision": "bbb"})
    assert "Warning: the runs mix revisions of tbft (aaa, bbb)" in notes_of(tmp_path)
    write_run(tmp_path, "tuned-full", 10.0, environment={"number_format": "bf16"})
    assert "mix revisions of tbft (aaa, and 1 runs do not say theirs)" in notes_of(tmp_path)


def test_an_older_ledger_has_its_figures_and_no_process() -> None:
    records, problems = read_ledger(LEDGERS / "backbones")
    tables = {table.name: table for table in all_tables(Results(records), problems)}
    assert not problems and {record.revision for record in records} == {""}
    table = tables["savings"].compact()
    assert "CPU s saved %" in table.columns
    assert not [name for name in table.columns if "process" in name]
    notes = " ".join(table.notes)
    assert "did not record its revision" in notes
    input_level = dict(zip(table.columns, table.rows[0], strict=True))
    assert (input_level["interval over"], input_level["pairs"]) == ("2 drifts", 6)


def test_an_idea_saves_what_the_recipe_without_it_costs_more(tmp_path: Path) -> None:
    accuracy = {"base": 0.1, "validation": 0.5}
    costs = {"block": (2.0, 0.70), "without cached features": (8.0, 0.69), "without bfloat16": (1.0, 0.74)}
    for drift in ("fog", "snow"):
        for strategy, (cpu, test) in costs.items():
            write_run(tmp_path, strategy, cpu, drift, accuracy={**accuracy, "test": test})
    found = {row["recipe"]: row for row in rows_of(tmp_path, "ablation")}
    assert list(found) == ["block, with all ideas", "without bfloat16", "without cached features"]
    saved = {name: row["CPU s that the idea saves %"] for name, row in found.items()}
    assert saved["without cached features"].value == pytest.approx(75.0)
    assert saved["without bfloat16"].value == pytest.approx(-100.0)
    assert found["without cached features"]["points that the idea brings"].value == pytest.approx(1.0)
    assert found["without cached features"]["interval over"] == "2 drifts"
    tables = tables_of(tmp_path)
    assert "savings" not in tables
    assert "block" in tables["accuracy"].columns and "without bfloat16" not in tables["accuracy"].columns
