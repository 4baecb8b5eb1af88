"""A run lies in a folder of its own, directly in the root of all runs."""

from pathlib import Path

import pytest

from tbft.errors import BadInput
from tbft.runs.settings import RunSettings

NO_NAMES = ["", ".", "..", "../x", "a/b", "/tmp/x", "a\\b", "two\nlines", "nul\0", "tab\t", "x" * 256, "ü" * 128]


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
def test_a_name_that_is_no_folders_is_refused(name):
    with pytest.raises(BadInput, match=r"run\.name .*: give another"):
        RunSettings(name=name)


@pytest.mark.parametrize("name", ["x", "a.2", "..x", "with space", "été", "x" * 255, "input-block+fc:1", "-x"])
def test_any_other_name_is_a_folder_in_the_root(tmp_path, name):
    folder = RunSettings(root=str(tmp_path), name=name).folder("unused")
    folder.mkdir()
    assert folder.parent == tmp_path


def test_a_name_made_from_the_data_is_checked_too(tmp_path):
    with pytest.raises(BadInput, match="give another"):
        RunSettings(root=str(tmp_path)).folder("x" * 256)


def test_nothing_is_written_outside_the_root(run, capsys):
    assert run("fit", "--config", "output.yaml", name="../x")[0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "run.name '../x' is no name for a folder in run.root" in line
    assert not any(Path.cwd().iterdir()) and not (Path.cwd().parent / "x").exists()
