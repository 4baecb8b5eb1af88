"""Whoever reads what a run prints, and wherever: the run is done and recorded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tbft.command_line.output import UnfailingStream

FULL = Path("/dev/full")
FIT = ("fit", "--config", "output.yaml", "--energy.codecarbon", "false")


def tbft(folder, *args, redirect="", **environment):
    """Run tbft in a shell; give its exit code and what it said on standard error."""
    line = f'"$0" -m tbft "$@" {redirect}'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line, sys.executable, *args],
        check=False, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def unread_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


@pytest.mark.parametrize("goes_to", [unread_pipe, lambda: FULL.open("w")])
def test_a_run_whose_output_goes_nowhere_is_done_and_recorded(run, monkeypatch, goes_to):
    monkeypatch.setattr(sys, "stdout", goes_to())
    monkeypatch.setattr(sys, "stderr", goes_to())
    code, record = run(*FIT)
    assert code == 0 and record["status"] == "completed"


def test_characters_that_the_output_lacks_are_replaced(run, monkeypatch):
    with Path("out").open("w", encoding="ascii") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert run(*FIT)[0] == 0
    assert "| test accuracy |" in Path("out").read_text()


@pytest.mark.parametrize(
    ("redirect", "code", "words"),
    [
        ("| true", 141, ""),
        ("> /dev/full", 1, "standard output cannot be written: No space left on device"),
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
    ],
)
def test_a_command_that_only_prints_says_in_its_exit_code_that_it_could_not(tmp_path, redirect, code, words):
    for args in (["--help"], ["fit", "--help", "data"], ["fit", "-h"]):
        ended, _, error = tbft(tmp_path, *args, redirect=redirect)
        assert ended == code
        assert words in error and len(error.splitlines()) == bool(words)


def test_bad_input_is_told_in_the_characters_that_there_are(tmp_path):
    code, _, error = tbft(tmp_path, "fit", "--data.rööt", "x", PYTHONIOENCODING="ascii", LANG="C")
    assert code == 2 and "did you mean --data.root?" in error


def test_a_closed_output_takes_no_file_of_the_run(tmp_path):
    """The number of a closed standard output would go to the next file that is opened."""
    program = "import os; from tbft.command_line.output import unfailing_output\n"
    program += "with unfailing_output():\n  f = open('x', 'w')\n"
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" >&- 2>&-', sys.executable, program + "  os._exit(f.fileno() > 2)"],
        check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1


def test_what_cannot_be_written_is_dropped_and_the_reason_kept():
    with FULL.open("w") as full:
        stream = UnfailingStream(full)
        stream.write("a" * 100_000)
        stream.flush()
        assert stream.failure is not None and stream.failure.strerror == "No space left on device"
        assert stream.write("more") == 4
