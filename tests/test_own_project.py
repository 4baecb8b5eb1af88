"""What the notebook shows of the callbacks in one's own project, run as it stands there."""

import json
import re
from pathlib import Path

import torch

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "own_project.ipynb"


def test_what_is_shown_runs_and_brings_the_accuracy_back(tmp_path, monkeypatch, capsys):
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    code = "\n\n".join("".join(cell["source"]) for cell in cells)
    exec(compile(code, str(NOTEBOOK), "exec"), {"__name__": "__main__"})
    said = re.findall(r"(\d+)% -> (\d+)%, ([\d.]+) J", capsys.readouterr().out)
    assert said
    for before, after, joules in said:
        assert int(after) > int(before) + 20 and float(joules) > 0
