"""What the README and the notebook show of the callbacks in one's own project, run as it stands there."""

import json
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


def example() -> str:
    """The code of the README's section."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## In your own Lightning project\n")[1]
    return section.split("```python\n")[1].split("```")[0]


def cells() -> str:
    """The notebook's code, cell after cell."""
    notebook = json.loads((ROOT / "notebooks" / "own_project.ipynb").read_text(encoding="utf-8"))
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
