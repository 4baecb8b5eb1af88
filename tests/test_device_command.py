"""The bundle's command line: what it prints, its exit codes, and one line for what is wrong."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from exported import pictures, write_bundle, write_pictures

from tbft.device import load
from tbft.device.command import main
from tbft.device.state import KEPT

CLASSES = tuple("0123456789")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path)


def test_a_session_with_a_device(tmp_path: Path, bundle: Path, capsys) -> None:
    mine = str(write_pictures(tmp_path / "mine", "output", CLASSES))
    table, delta = tmp_path / "predictions.csv", tmp_path / "better.delta"
    assert main(["adapt", mine, "--level", "output", "--delta", str(delta), "--threads", "1"], bundle) == 0
    said = capsys.readouterr().out
    assert "kept        adapted (relabel+head)" in said and "whole process" in said
    assert main(["predict", mine, "--csv", str(table)], bundle) == 0
    assert table.read_text().startswith("image,class,confidence")
    assert main(["info"], bundle) == 0
    assert "0001" in capsys.readouterr().out
    assert main(["revert"], bundle) == 0
    assert main(["apply", str(delta)], bundle) == 0
    assert main(["diagnose", mine], bundle) == 0
    assert "verdict   adapt" in capsys.readouterr().out
    assert main(["diagnose", mine, "--json"], bundle) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(json.dumps(load(bundle, threads=1).diagnose(mine).as_dict()))
    assert json.loads((tmp_path / "pet.state" / "result.json").read_text())["status"] == "completed"


def test_help_calls_the_bundle_by_its_name(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["adapt", "--help"], tmp_path / "camera.pyz")
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("usage: camera.pyz adapt")


def test_without_labels_it_says_what_it_cannot_see(tmp_path: Path, bundle: Path, capsys) -> None:
    mine = write_pictures(tmp_path / "mine", "input", CLASSES)
    for options, said in ((["--unlabelled", "--level", "input"], True), (["--level", "input"], False)):
        assert main(["adapt", str(mine), *options], bundle) == 0
        assert ("do not show whether the labels changed their meaning" in capsys.readouterr().out) == said


def test_what_is_wrong_is_one_line_and_exit_code_2(tmp_path: Path, bundle: Path, capsys) -> None:
    mine = write_pictures(tmp_path / "mine", "output", CLASSES, count=20)
    (tmp_path / "broken" / "a").mkdir(parents=True)
    (tmp_path / "broken" / "a" / "x.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    for args in (
        ["predict", str(tmp_path / "missing")],
        ["predict", str(tmp_path / "empty")],
        ["predict", str(tmp_path / "broken")],
        ["adapt", str(tmp_path / "broken")],
        ["adapt", str(mine), "--memory-mib", "10"],
        ["adapt", str(mine), "--level", "feature", "--unlabelled"],
        ["adapt", str(mine), "--threads", "0"],
        ["diagnose", str(mine), "--plot", "drift.svg"],
        ["apply", str(tmp_path / "missing.delta")],
        ["revert", "--to", "0007"],
        ["predict", str(mine), "--csv", str(tmp_path / "no" / "folder.csv")],
    ):
        assert main(args, bundle) == 2, args
        complaint = capsys.readouterr().err
        assert complaint.startswith("error: ") and complaint.count("\n") == 1, complaint


def test_a_delta_that_cannot_be_written_is_told_before_adapting(tmp_path: Path, bundle: Path, capsys) -> None:
    mine = str(write_pictures(tmp_path / "mine", "output", CLASSES))
    assert main(["adapt", mine, "--level", "output", "--delta", str(tmp_path / "no" / "x.delta")], bundle) == 2
    assert "there is no folder" in capsys.readouterr().err and not (tmp_path / "pet.state").exists()
    (tmp_path / "x.delta").mkdir()
    assert main(["adapt", mine, "--level", "output", "--delta", str(tmp_path / "x.delta")], bundle) == 2
    assert "the adaptation counts all the same" in capsys.readouterr().err
    assert [entry["current"] for entry in load(bundle).info()["history"]] == [True]


def test_help_says_what_becomes_of_missing_classes_and_broken_pictures(tmp_path: Path, capsys) -> None:
    for command in ("adapt", "diagnose"):
        with pytest.raises(SystemExit):
            main([command, "--help"], tmp_path / "pet.pyz")
        told = " ".join(capsys.readouterr().out.split())
        assert "adapt wants all classes, diagnose some" in told and "cannot be read are named and left out" in told


def test_a_bundle_whose_code_was_changed_says_so(tmp_path: Path, bundle: Path) -> None:
    mine = str(write_pictures(tmp_path / "mine", "output", CLASSES, count=100))
    with zipfile.ZipFile(bundle) as file:
        member = file.getinfo("tbft/remedies/signs.pyc")
    content = bytearray(bundle.read_bytes())
    content[member.header_offset + 30 + len(member.filename) + member.compress_size // 2] ^= 0x10
    bundle.write_bytes(content)
    done = subprocess.run([sys.executable, str(bundle), "adapt", mine], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "was changed or is cut short" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_adaptation_changes_nothing(tmp_path: Path, bundle: Path, number: int, code: int) -> None:
    mine = str(write_pictures(tmp_path / "mine", "output", CLASSES))
    assert main(["adapt", mine, "--level", "output"], bundle) == 0
    before = (tmp_path / "pet.state" / "current.json").read_text()
    (tmp_path / "pet.state" / "result.json").unlink()
    slow = (
        "import sys, time\nfrom pathlib import Path\nimport tbft.device.adapt as adapting\n"
        "from tbft.device.command import main\n"
        "def adapt(*args):\n    print('adapting', flush=True)\n    time.sleep(60)\n"
        "adapting.adapt = adapt\nsys.argv = sys.argv[1:]\nsys.exit(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow, str(bundle), "adapt", mine], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"adapting\n"
    time.sleep(0.1)
    process.send_signal(number)
    _, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint) == (code, b"")
    assert (tmp_path / "pet.state" / "current.json").read_text() == before
    assert json.loads((tmp_path / "pet.state" / "result.json").read_text())["status"] == "interrupted"
    assert main(["adapt", mine, "--level", "output"], bundle) == 0


@pytest.mark.timeout(3600)
def test_adapt_killed_at_random_moments_leaves_the_old_state_or_the_new(tmp_path: Path, bundle: Path) -> None:
    """A long version with ``TBFT_KILLS=50``."""
    state, chance = tmp_path / "pet.state", random.Random(1)
    samples = [str(write_pictures(tmp_path / name, name, CLASSES)) for name in ("input", "output")]
    pixels, _ = pictures("output", "test")

    def adapt(number: int) -> list[str]:
        level = ("input", "output")[number % 2]
        options = ["--level", level, "--seed", str(number), "--threads", "1"]
        return [sys.executable, str(bundle), "adapt", samples[number % 2], *options]

    def kept() -> dict[str, bytes]:
        """The adaptations that revert can go back to, the one that counts last."""
        found = json.loads((state / "current.json").read_text())
        assert found["current"] == found["history"][-1]
        return {name: (state / f"{name}.delta").read_bytes() for name in found["history"]}

    began = time.monotonic()
    subprocess.run(adapt(0), check=True, capture_output=True)
    seconds = time.monotonic() - began
    for number in range(1, 1 + int(os.environ.get("TBFT_KILLS", "3"))):
        before = kept()
        answers = [row.label for row in load(bundle, threads=1).predict(pixels)]
        process = subprocess.Popen(adapt(number), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Half of the kills fall into the last tenth of a run, where the state is written.
        time.sleep(seconds * (chance.uniform(0, 1.1) if number % 2 else chance.uniform(0.85, 1.05)))
        process.kill()
        process.wait()
        after = kept()
        device = load(bundle, threads=1)
        device.info()  # every member of the bundle has its checksum
        if after != before:
            new = f"{int(max(before)) + 1:04d}"
            assert list(after) == [*before, new][-KEPT:]
            assert all(after[name] == content for name, content in before.items() if name in after)
        assert after != before or [row.label for row in device.predict(pixels)] == answers
    subprocess.run(adapt(0), check=True, capture_output=True)  # neither a lock nor half a file stands in the way
    assert not list(state.glob(".*.*"))
