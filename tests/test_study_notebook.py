"""The notebook runs on any ledger and says what the ledger says."""

from pathlib import Path

import pytest
from study_stand_in import record, write_ledger, write_record

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "results.ipynb"


def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the notebook shows, as one text; figures as the word `<figure>`."""
    monkeypatch.setenv("TBFT_RUNS", str(root))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parent.parent))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            shown.append("<figure>" if "image/svg+xml" in data else data.get("text/markdown", output.get("text", "")))
    return "\n".join(shown)


def test_it_draws_the_figures_and_tells_the_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ledger(tmp_path)
    shown = run(tmp_path, monkeypatch)
    assert shown.count("<figure>") == 4
    assert "72 completed runs, 0 with problems" in shown
    assert "*73.53 ± 0.22*" in shown
    assert "output level, output-data, 1000 images:** TBFT reaches" in shown
    assert "% less CPU time" in shown and "% less energy" in shown


def test_it_runs_on_a_single_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(tmp_path, "run", record("input", "block", 0))
    assert "1 completed runs" in run(tmp_path, monkeypatch)
