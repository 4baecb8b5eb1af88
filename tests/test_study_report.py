"""Records become tables, figures and one page that needs nothing else."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from study_stand_in import BLOCKS, first_row, record, tables_of, write_blocks, write_ledger, write_record

from tbft.cli import main
from tbft.errors import BadInput
from tbft.study.reporting.energy_figures import pareto
from tbft.study.reporting.intervals import mean_sd, median, paired_interval
from tbft.study.reporting.ledger_reading import read_ledger
from tbft.study.reporting.paper import paper_figures
from tbft.study.reporting.record import read_record
from tbft.study.reporting.report import write_report
from tbft.study.reporting.results import Results, accuracy_on_test


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a ledger, one of whose runs failed with a reason that looks like a part of a page."""
    root = tmp_path_factory.mktemp("ledger")
    write_ledger(root)
    write_record(root, "bad", {"schema": 1, "status": "failed", "error": "<script>alert(1)</script>"})
    return write_report(root).folder


def test_spread_and_interval_agree_with_numpy_and_scipy() -> None:
    ours, theirs = [0.71, 0.74, 0.69, 0.75], [0.66, 0.70, 0.68, 0.69]
    estimate = mean_sd(ours)
    assert estimate is not None
    assert (estimate.value, estimate.sd) == pytest.approx((np.mean(ours), np.std(ours, ddof=1)))
    interval = paired_interval([a - b for a, b in zip(ours, theirs, strict=True)])
    expected = scipy.stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_a_mean_but_no_spread() -> None:
    one, none = mean_sd([0.5]), median([])
    assert one is not None and one.sd is None
    assert none is None
    difference = paired_interval([0.1])
    assert difference is not None and difference.low is None


def test_block_average_is_the_mean_over_the_single_blocks(tmp_path: Path) -> None:
    accuracies = {"block1": 0.8, "block2": 0.6, "block3": 0.4, "fc": 0.2}
    for strategy, accuracy in accuracies.items():
        content = record("feature", strategy, 0, accuracy={"base": 0.1, "validation": 0.5, "test": accuracy})
        write_record(tmp_path, strategy, content)
    (row, *_) = tables_of(tmp_path)["improvement"].rows
    assert row[7].value == pytest.approx(50.0)  # (80 + 60 + 40 + 20) / 4
    assert row[8].value == pytest.approx(40.0 - 50.0)  # block3 is the feature level's


def test_accuracy_is_averaged_over_drifts_before_seeds(tmp_path: Path) -> None:
    values = {("fog", 0): 0.2, ("snow", 0): 0.4, ("fog", 1): 0.6, ("snow", 1): 0.8}
    for (drift, seed), accuracy in values.items():
        content = record("input", "block", seed, accuracy={"base": 0.1, "validation": 0.5, "test": accuracy})
        content["drift"]["name"] = drift
        write_record(tmp_path, f"{drift}{seed}", content)
    estimate = tables_of(tmp_path)["accuracy"].rows[0][6]
    assert estimate.value == pytest.approx(50.0)
    assert estimate.sd == pytest.approx(np.std([30, 70], ddof=1))


def improvements(root: Path) -> dict[tuple, Any]:
    """Improvement of each of our rows, by level and size."""
    rows = tables_of(root)["improvement"].rows
    return {(row[1], row[3]): row[8] for row in rows if row[0] == "ours"}


def test_the_mean_improvement_weighs_the_levels_alike_and_is_paired_by_seed(tmp_path: Path) -> None:
    others = dict.fromkeys(("block2", "block3", "fc"), 0.4)
    for seed, gain in enumerate((0.04, 0.08, 0.12)):  # over Block Avg three quarters of what block1 is ahead
        for size in (1000, 2000, 3000):
            write_blocks(tmp_path, "input", size, seed, {"block1": 0.4 + gain, **others})
        write_blocks(tmp_path, "output", 1000, seed, {"block1": 0.4, **others, "fc": 0.8})
    found = improvements(tmp_path)
    assert found["input", 1000].value == pytest.approx(6.0)
    assert found["output", 1000].value == pytest.approx(30.0)
    assert found["all", None].value == pytest.approx((6 + 30) / 2)
    interval = scipy.stats.ttest_1samp([(3 + 30) / 2, (6 + 30) / 2, (9 + 30) / 2], 0).confidence_interval()
    assert (found["all", 1000].low, found["all", 1000].high) == pytest.approx((interval.low, interval.high))
    beside = [row for row in tables_of(tmp_path)["improvement"].rows if row[:4] == ("paper", "all", "", 1000)]
    paper = paper_figures()["accuracy"]
    own = {"input": "block1", "output": "fc"}
    gains = [
        paper[level]["sizes"][1000][block][0] - paper[level]["sizes"][1000]["block_avg"][0]
        for level, block in own.items()
    ]
    assert beside[0][8].value == pytest.approx(np.mean(gains))


def test_the_adaptive_strategy_is_compared_with_the_mean_block_too(tmp_path: Path) -> None:
    for level, own in (("input", "block1"), ("output", "fc")):
        accuracies = {**dict.fromkeys(BLOCKS, 0.4), own: 0.6, "auto": 0.7}
        write_blocks(tmp_path, level, 1000, 0, accuracies)
    rows = tables_of(tmp_path)["improvement"].rows
    found = {(row[1], row[5]): row[8].value for row in rows if row[0] == "ours"}
    assert found["input", "block1"] == pytest.approx(60 - 45)
    assert found["input", "auto"] == found["output", "auto"] == pytest.approx(70 - 45)
    assert (found["all", ""], found["all", "auto"]) == (pytest.approx(15), pytest.approx(25))


def test_a_seed_that_lacks_drifts_waits_for_them(tmp_path: Path) -> None:
    blocks = {"block1": 0.5, "block2": 0.4, "block3": 0.4, "fc": 0.4}
    write_blocks(tmp_path, "input", 1000, 0, blocks, "fog")
    write_blocks(tmp_path, "input", 1000, 0, {**blocks, "block1": 0.9}, "snow")
    write_blocks(tmp_path, "input", 1000, 1, blocks, "fog")
    estimate = tables_of(tmp_path)["accuracy"].rows[0][6]
    assert (estimate.value, estimate.n) == (pytest.approx(70.0), 1)


def test_columns_of_a_row_rest_on_the_same_drifts_and_seeds(tmp_path: Path) -> None:
    everywhere, first = {"block2": 0.6, "fc": 0.4}, {"full": 0.5}
    write_blocks(tmp_path, "input", 1000, 0, everywhere | first, "fog")
    write_blocks(tmp_path, "input", 1000, 0, everywhere | first, "snow")
    write_blocks(tmp_path, "input", 1000, 1, {"block2": 0.9, "fc": 0.9}, "fog")
    write_blocks(tmp_path, "input", 1000, 1, {"block2": 0.9, "fc": 0.9}, "frost")  # as many drifts, but others
    row = first_row(tmp_path, "accuracy")
    assert {name: round(row[name].value) for name in ("block2", "fc", "full")} == {"block2": 60, "fc": 40, "full": 50}
    assert row["seeds"] == 1
    notes = " ".join(tables_of(tmp_path)["accuracy"].notes)
    assert "rests on 2 of 3 drifts and 1 of 2 seeds, those that every strategy has (full has fewest)" in notes


def test_where_nothing_is_in_common_each_column_says_on_how_many_seeds_it_rests(tmp_path: Path) -> None:
    write_blocks(tmp_path, "input", 1000, 0, {"block2": 0.6}, "fog")
    write_blocks(tmp_path, "input", 1000, 1, {"block2": 0.8}, "fog")
    write_blocks(tmp_path, "input", 1000, 2, {"fc": 0.4}, "fog")
    row = first_row(tmp_path, "accuracy")
    assert (round(row["block2"].value), round(row["fc"].value), row["seeds"]) == (70, 40, "1 to 2")
    assert "share no drift and seed yet" in " ".join(tables_of(tmp_path)["accuracy"].notes)


def test_block_average_waits_for_every_block(tmp_path: Path) -> None:
    blocks = {"block1": 0.5, "block2": 0.4, "block3": 0.4, "fc": 0.4}
    write_blocks(tmp_path, "input", 1000, 0, blocks)
    write_blocks(tmp_path, "input", 2000, 0, {"block1": 0.5, "block2": 0.4})
    assert set(improvements(tmp_path)) == {("input", 1000)}
    assert "Block Avg of input input-data 2000 waits for block3, fc." in tables_of(tmp_path)["accuracy"].notes


def test_block_average_waits_for_nothing_that_is_not_planned(tmp_path: Path) -> None:
    def write_study(root: Path, level: str, strategies: tuple[str, ...], ran: int) -> None:
        cells = {name: {"labels": {"drift": level, "strategy": name, "seed": "0"}} for name in strategies}
        for name in strategies[:ran]:
            write_record(root, name, record(level, name, 0))
        (root / "study.json").write_text(json.dumps({"schema": 1, "cells": cells}))

    write_study(tmp_path / "blocks", "input", ("block", "block2", "block3", "fc"), 3)
    write_study(tmp_path / "savings", "output", ("block", "tuned-full"), 2)
    notes = [note for note in tables_of(tmp_path)["accuracy"].notes if "Block Avg" in note]
    assert notes == ["Block Avg of input input-data 1000 waits for fc."]


def test_models_with_noise_have_a_table_of_their_own(tmp_path: Path) -> None:
    cells = {}
    for noised in ("block1", "fc"):
        for tuned, accuracy in (("block1", 0.4), ("fc", 0.6), ("full", 0.7)):
            key = f"{noised}-{tuned}"
            tested = {"base": 0.1, "test": accuracy + 0.2 * (noised == tuned)}
            write_record(tmp_path, key, record("input", tuned, 0, accuracy=tested))
            cells[key] = {"labels": {"model.noise_block": noised, "strategy": tuned, "seed": "0"}}
    (tmp_path / "study.json").write_text(json.dumps({"schema": 1, "cells": cells}))
    tables = tables_of(tmp_path)
    assert set(tables) == {"noised_blocks"}
    rows = {
        row[1]: [round(value.value) for value in row[2:]] for row in tables["noised_blocks"].rows if row[0] == "ours"
    }
    assert rows == {"block1": [60, 40], "fc": [60, 80], "full": [70, 70]}
    assert write_report(tmp_path).folder.joinpath("report.html").is_file()


def test_what_cannot_be_used_is_told_and_stops_nothing(tmp_path: Path) -> None:
    write_ledger(tmp_path, seeds=(0,))
    write_record(tmp_path, "other", {"schema": 9})
    write_record(tmp_path, "died", {"schema": 1, "status": "failed", "error": "no such drift"})
    write_record(tmp_path, "list", [1, 2])  # type: ignore[arg-type]
    write_record(tmp_path, "bare", {"schema": 1, "status": "completed"})
    untested = record("input", "block", 0, 1000, accuracy={"base": None, "validation": 0.5, "test": None})
    write_record(tmp_path, "untested", untested)
    write_record(tmp_path, "half", {}).write_text('{"schema": 1, "sta')
    kinds = {row[0]: row[1] for row in tables_of(tmp_path)["problems"].rows}
    assert kinds == {
        "other": "foreign",
        "died": "failed",
        "list": "foreign",
        "bare": "foreign",
        "untested": "not tested",
        "half": "half-written",
    }


def test_the_paper_stands_beside_ours_and_is_marked(reported: Path) -> None:
    rows = rows_of(reported, "accuracy")
    paper = [row for row in rows if row["figures"] == "paper" and row["level"] == "input"]
    assert [row["data set"] for row in paper] == ["cifar10c"]
    assert float(paper[0]["block1"]) == 73.53
    assert {row["figures"] for row in rows} == {"ours", "paper"}
    assert "*73.53 ± 0.22*" in (reported / "tables.md").read_text()


def test_the_papers_own_figures_agree_with_its_headline() -> None:
    figures = paper_figures()
    own = {"input": "block1", "feature": "block3", "output": "fc"}
    gains = [
        size[own[level]][0] - size["block_avg"][0]
        for level, table in figures["accuracy"].items()
        for size in table["sizes"].values()
    ]
    assert np.mean(gains) == pytest.approx(figures["headline"]["accuracy_over_block_avg"], abs=0.02)
    saved = [figures["saving"][level]["block_avg"] for level in ("input", "feature")]
    assert np.mean(saved) == pytest.approx(figures["headline"]["energy_saving_vs_full"], abs=0.01)


def test_modelled_energy_is_called_modelled(tmp_path: Path, reported: Path) -> None:
    assert {row["energy is"] for row in rows_of(reported, "savings") if row["data set"]} == {"modelled"}
    measured = record("input", "block", 0, energy_source={"cpu": "rapl", "measured": True})
    write_record(tmp_path, "run", measured)
    assert tables_of(tmp_path)["cost"].rows[0][8] == "measured"


def test_an_axis_of_ones_own_is_not_averaged_away(tmp_path: Path) -> None:
    cells = {}
    for value in ("refresh", "batch"):
        write_record(tmp_path, value, record("input", "block", 0))
        cells[value] = {"labels": {"freeze.statistics": value, "strategy": "block", "seed": "0"}}
    cells["to come"] = {"labels": {}}
    (tmp_path / "study.json").write_text(json.dumps({"schema": 1, "cells": cells}))
    tables = tables_of(tmp_path)
    variants = {row[4] for row in tables["accuracy"].rows if row[0] == "ours"}
    assert variants == {"freeze.statistics=refresh", "freeze.statistics=batch"}
    assert ("to come", "not run", "the study has not reached it") in tables["problems"].rows


def test_many_runs_to_come_are_counted(tmp_path: Path) -> None:
    write_record(tmp_path, "run", record("input", "block", 0))
    cells = {f"cell{number}": {"labels": {}} for number in range(30)}
    (tmp_path / "study.json").write_text(json.dumps({"schema": 1, "cells": cells}))
    assert [row[:2] for row in tables_of(tmp_path)["problems"].rows] == [("cell0 and 29 others", "not run")]


def test_figures_are_written_for_screen_and_print_and_are_reproducible(tmp_path: Path, reported: Path) -> None:
    names = {path.name for path in reported.iterdir()}
    assert {f"{name}.{kind}" for name in ("bars", "pareto", "phases", "curves") for kind in ("png", "svg")} <= names
    write_report(reported.parent, tmp_path)
    for name in names:
        assert (tmp_path / name).read_bytes() == (reported / name).read_bytes(), name


def test_the_page_fetches_nothing_and_escapes_what_records_say(reported: Path) -> None:
    page = (reported / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.findall(r"""src=|href="(?!#)|url\((?!#)|@import""", page)


def test_report_needs_neither_torch_nor_lightning_nor_what_runs_a_study(tmp_path: Path) -> None:
    write_blocks(tmp_path, "input", 1000, 0, dict.fromkeys(BLOCKS, 0.5))
    code = (
        "import sys; from tbft.cli import main; code = main(['report', sys.argv[1]]);"
        "unused = {'torch', 'lightning', 'codecarbon', 'wandb', 'tbft.study.running'};"
        "sys.exit(code or len(unused & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Improvement of TBFT over Block Avg" in done.stdout
    (answer,) = [
        line for line in done.stdout.splitlines() if line.startswith("At input level TBFT brings the accuracy")
    ]
    assert done.stdout.index(answer) > done.stdout.rindex("│")


def test_report_says_what_is_wrong_with_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    with pytest.raises(BadInput, match=r"holds no result\.json"):
        write_report(tmp_path)
    write_record(tmp_path, "run", record("input", "block", 0))
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot write the report"):
        write_report(tmp_path, tmp_path / "file" / "report")


def test_a_single_run_outside_a_study_can_be_reported(tmp_path: Path) -> None:
    write_record(tmp_path, "run", record("output", "block", 0, curve=[], joules={}))
    report = write_report(tmp_path)
    assert [table.name for table in report.tables] == ["accuracy", "cost"]


def four_stages(level: str, strategy: str, blocks: list[str], **changes: Any) -> dict[str, Any]:
    """A record of a network of four stages, as runs write it."""
    own = {"input": "block1", "feature": "block4", "output": "fc"}
    return record(level, strategy, 0) | {"blocks": blocks, "level_block": own[level], **changes}


def test_a_record_says_which_block_its_level_tunes_in_a_network_of_four_stages(tmp_path: Path) -> None:
    for block in ("block1", "block2", "block3", "fc"):
        write_record(tmp_path, block, four_stages("feature", block, [block]))
    write_record(tmp_path, "own", four_stages("feature", "block", ["block4"]))
    write_record(tmp_path, "full", four_stages("feature", "tuned-full", ["block1", "block2", "block3", "block4", "fc"]))
    results = Results(read_ledger(tmp_path)[0])
    (setting,) = results.settings()
    assert (results.level_block(setting), results.target(setting)) == ("block4", "block")
    assert results.single_blocks(setting) == {
        **{name: name for name in ("block1", "block2", "block3", "fc")},
        "block4": "block",
    }
    row = first_row(tmp_path, "improvement")
    single = [results.by_pair(setting, name, accuracy_on_test) for name in results.single_blocks(setting).values()]
    assert row["TBFT"] == "block"
    accuracies = [accuracy for by_pair in single for accuracy in by_pair.values()]
    assert row["Block Avg %"].value == pytest.approx(100 * np.mean(accuracies))
    assert "TBFT tunes block4" in pareto(results).panels[0].title


@pytest.mark.parametrize(
    ("level", "strategy", "blocks", "expected"),
    [
        ("feature", "block", ["block4"], "block4"),
        ("feature", "full", ["block1", "block2", "block3", "block4", "fc"], "block4"),
        ("feature", "full", ["block1", "block2", "block3", "fc"], "block3"),
        ("feature", "block1+block2+fc", ["block1", "block2", "fc"], ""),  # of how many stages it does not say
        ("feature", "block3", ["block3"], ""),
        ("input", "fc", ["fc"], "block1"),
        ("output", "none", [], "fc"),
        ("", "full", ["block1", "block2", "fc"], ""),
    ],
)
def test_an_older_record_says_the_level_block_only_as_far_as_it_knows(
    level: str, strategy: str, blocks: list[str], expected: str, tmp_path: Path
) -> None:
    content = record("feature", strategy, 0) | {"blocks": blocks}
    content["drift"]["level"] = level or None
    del content["level_block"]
    assert read_record(write_record(tmp_path, "run", content)).level_block == expected
