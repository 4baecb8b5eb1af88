"""`python -m tbft study`: exit codes, and one line for what is wrong."""

from pathlib import Path

import pytest
from study_stand_in import check

from tbft import cli
from tbft.study.running import command


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a preset, and the stand-in for `fit`."""
    (tmp_path / "input.yaml").write_text("name: input\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "check_arguments", check)
    of_study = command.main_study
    monkeypatch.setattr(command, "main_study", lambda args, runner: of_study(args, "study_stand_in:main"))
    return tmp_path


def test_the_command_ends_with_130_when_a_cell_is_interrupted(
    working_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (working_folder / "own.yaml").write_text(
        "name: own\nroot: runs\ngrid:\n  drift:\n    now: {config: input.yaml, model.behave: interrupt}\n"
    )
    assert cli.main(["study", "--config", "own.yaml"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--config", "none.yaml"], "no configuration 'none.yaml'"),
        (["--name", "x"], "required: root, grid: give --config study/quick.yaml"),
        (["--config", "own.yaml", "--colour", "red"], "unrecognized"),
        (["--config", "own.yaml", "--executor", "slurm"], "executor"),
        (["--config", "own.yaml", "--workers", "2"], "share this machine"),
        (["--config", "own.yaml", "--grid", "{}"], "the grid of study 'own' is empty"),
    ],
)
def test_bad_usage_is_one_line(
    args: list[str],
    words: str,
    working_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (working_folder / "own.yaml").write_text("name: own\nroot: runs\ngrid: {drift: {a: {config: input.yaml}}}\n")
    assert cli.main(["study", *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
