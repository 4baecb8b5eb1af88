"""The study of what not naming the drift costs, on digits."""

import json
from pathlib import Path

import pytest

from tbft.cli import main
from tbft.study.reporting import figures
from tbft.study.reporting.hindsight_cells import Cells
from tbft.study.reporting.ledger_reading import read_ledger
from tbft.study.reporting.results import Results

MOST_LOST = {"output": 0.015, "feature": 0.08}
"""By level; at feature level a block that was trained on top of a solved head may lose what the head had gained."""


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder; reports have tables alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figures, "all_figures", lambda results: {})


def test_little_is_lost_by_not_naming_the_drift(capsys: pytest.CaptureFixture[str]) -> None:
    left_out = [{"drift": ["none", "input", "input+output", "prior"]}, {"strategy": ["tuned-full", "refresh+head"]}]
    few = ["--grid.seed", "[0]", "--exclude", json.dumps(left_out)]
    assert main(["study", "--config", "study/adaptive_digits.yaml", *few]) == 0
    printed = capsys.readouterr().out
    records, problems = read_ledger(Path("runs/adaptive_digits"))
    cells = Cells(Results(records))
    assert not problems and len(cells.runs) == 2
    for cell in cells.runs:
        ours, base = cells.accuracy(cell, "auto"), cells.accuracy(cell, "none")
        assert ours is not None and base is not None and ours >= base
        assert cells.best(cell) - ours <= MOST_LOST[cell.drift], cell
        assert cells.kind(cell.drift) == cell.drift
    for title in ("Regret against the best in hindsight", "What drifted, as the sample told", "Without labels"):
        assert title in printed
