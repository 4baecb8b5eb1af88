"""What the README and the notebook show of the callbacks in one's own project, run as it stands there."""

import json
import re
import textwrap
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


def example() -> str:
    """The section's code: its indented lines, from the first import to the last print."""
    section = (ROOT / "README.md").read_text().split("\n## In your own Lightning project\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(lines))


def cells() -> str:
    """The notebook's code, cell after cell."""
    notebook = json.loads((ROOT / "notebooks" / "own_project.ipynb").read_text())
    return "\n\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")


@pytest.mark.parametrize("code", [example, cells], ids=["README", "notebook"])
def test_what_is_shown_runs_and_brings_the_accuracy_back(tmp_path, monkeypatch, capsys, code):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(code(), code.__name__, "exec"), {"__name__": "__main__"})
    said = re.findall(r"(\d+)% -> (\d+)%, ([\d.]+) J", capsys.readouterr().out)
    assert said
    for before, after, joules in said:
        assert int(after) > int(before) + 20 and float(joules) > 0
