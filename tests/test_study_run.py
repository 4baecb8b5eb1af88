"""A study can be killed, resumed, spread and interrupted; nothing is lost and nothing runs twice."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock
from study_stand_in import HOLD, LOG, check

from tbft.errors import BadInput
from tbft.study.reporting import energy_figures, figures
from tbft.study.reporting.ledger_reading import read_ledger
from tbft.study.running.command import Execution, execute
from tbft.study.running.grid import Study
from tbft.study.running.ledger import LOCK_FILE

RUNNER = "study_stand_in:main"
TESTS = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Presets for the stand-in, a log of what ran, and the stand-in itself for other processes."""
    (tmp_path / "strategy").mkdir()
    for name in ("input", "strategy/fc", "strategy/tuned-full"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([TESTS, str(Path(TESTS).parent)]))
    monkeypatch.setenv(LOG, str(tmp_path / "ran"))
    return tmp_path


@pytest.fixture(autouse=True)
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of tables alone, since figures take longer than the studies here; `test_study_report.py` draws them."""
    monkeypatch.setattr(figures, "all_figures", lambda results: {})


def study(**changes: Any) -> Study:
    grid = {
        "drift": {"noise": {"config": "input.yaml"}},
        "strategy": ["block", "fc", "tuned-full"],
        "seed": [0, 1],
    }
    return Study(**{"name": "quick", "root": Path("runs"), "grid": grid, **changes})


def behaving(**behaviours: str) -> Study:
    """One cell for each name, which behaves as its value says."""
    how = {name: {"config": "input.yaml", "model.behave": value} for name, value in behaviours.items()}
    return study(grid={"drift": how})


def run(given: Study, **options: Any) -> int:
    return execute(given, Execution(**options), check, RUNNER)


def ran() -> Counter[str]:
    return Counter(Path("ran").read_text().split()) if Path("ran").exists() else Counter()


def result(drift: str) -> dict[str, Any]:
    (path,) = Path("runs").glob(f"{drift}*/result.json")
    return json.loads(path.read_text())


def tables() -> dict[str, list[dict[str, str]]]:
    """All tables but for what the cells' own processes cost, which is really measured."""
    rows = {path.name: csv.DictReader(path.read_text().splitlines()) for path in Path("runs/report").glob("*.csv")}
    return {
        name: [{k: v for k, v in row.items() if "process" not in k} for row in found] for name, found in rows.items()
    }


@pytest.mark.parametrize("isolate", [False, True])
def test_a_study_runs_every_cell_once_and_reports(isolate: bool, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(study(), isolate=isolate) == 0
    assert sorted(ran().values()) == [1] * 6
    assert run(study(), isolate=isolate) == 0
    assert sorted(ran().values()) == [1] * 6
    shown = capfd.readouterr()
    assert "Improvement" not in shown.err
    assert "TBFT against full fine-tuning" in shown.out
    assert "6 of 6 cells completed, 0 ran now" in shown.err
    assert "running" not in shown.out  # what cells print goes to their logs
    logs = sorted(Path("runs/logs").glob("*.log"))
    assert [log.read_text() for log in logs] == [f"running {log.stem}\n" for log in logs]
    assert Path("runs/report/report.html").exists()


def test_a_cell_in_a_process_of_its_own_is_counted_up_to_the_processes_end() -> None:
    run(study(), isolate=True)
    run(study(root=Path("shared")), isolate=False)
    alone, together = (
        [json.loads(path.read_text())["process"]["until"] for path in Path(root).glob("*/result.json")]
        for root in ("runs", "shared")
    )
    assert (set(alone), set(together)) == ({"exit"}, {"record"})


def test_a_grown_grid_runs_only_what_is_new() -> None:
    run(study())
    grown = study()
    grown.grid["seed"] = [0, 1, 2]
    run(grown)
    assert sorted(ran().values()) == [1] * 9


def test_records_of_an_edited_study_are_not_mixed_with_the_new_ones(working_folder: Path) -> None:
    run(study())
    (working_folder / "strategy" / "fc.yaml").write_text("name: another recipe\n")
    run(study())
    assert sorted(ran().values()) == [1] * 8
    records, problems = read_ledger(Path("runs"))
    assert len(records) == 6
    assert [(problem.key, problem.kind) for problem in problems] == [("2 of earlier plans", "superseded")]
    assert "2 of earlier plans" in Path("runs/report/problems.csv").read_text()


def test_records_of_a_base_model_that_was_changed_are_not_taken_for_those_of_the_new_one() -> None:
    base = Path("base.pt")
    base.write_bytes(b"one")
    given = study(options={"model.base": str(base)})
    assert run(given) == 0 and sum(ran().values()) == 6
    base.touch()
    assert run(given) == 0 and sum(ran().values()) == 6
    base.write_bytes(b"two")
    with pytest.raises(BadInput, match=r"completed with other weights than base\.pt"):
        run(given)


def test_cells_of_an_earlier_plan_are_neither_awaited_nor_lost() -> None:
    run(study())
    narrow = study()
    narrow.grid["seed"] = [2]
    run(narrow)
    records, problems = read_ledger(Path("runs"))
    assert {record.seed for record in records} == {2}
    assert [problem.key for problem in problems] == ["6 of earlier plans"]
    wide = study()
    wide.grid["seed"] = [0, 1, 2]
    run(wide)
    assert sorted(ran().values()) == [1] * 9
    records, problems = read_ledger(Path("runs"))
    assert {record.seed for record in records} == {0, 1, 2}
    assert not problems
    next(Path("runs").glob("*seed0*/result.json")).unlink()
    run(narrow)
    assert "not run" not in Path("runs/report/problems.csv").read_text()


@pytest.mark.parametrize("isolate", [False, True])
def test_a_failed_cell_stops_nothing_and_is_shown_and_tried_again_next_time(
    isolate: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    given = behaving(bad="fail", odd="raise", good="")
    assert run(given, isolate=isolate) == 1
    assert result("good")["status"] == "completed"
    assert result("bad") | {"name": ""} == {
        "schema": 1,
        "status": "failed",
        "name": "",
        "error": "it ended with exit code 1",
    }
    shown = capfd.readouterr()
    assert "failed: bad-" in shown.err
    assert "it ended with exit code 1" in shown.out
    assert run(given, isolate=isolate) == 1
    assert sorted(ran().values()) == [1, 2, 2]


@pytest.mark.parametrize("isolate", [False, True])
def test_a_full_disk_stops_the_study_before_further_cells_run_in_vain(
    isolate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOLD, "2")  # an isolated cell may have begun when the first is read, and is then ended
    with pytest.raises(BadInput, match=r"no space was left for full-.*: free some and start the study again"):
        run(behaving(full="fill the disk", a="a", b="b", c="c"), isolate=isolate, retries=3)
    assert len(ran()) <= 2
    assert result("full")["status"] == "failed"


def test_the_reason_of_an_exception_is_recorded() -> None:
    run(behaving(odd="raise"))
    assert result("odd")["error"] == "RuntimeError: no such drift"


def test_a_process_that_dies_takes_only_its_own_cell() -> None:
    assert run(behaving(dead="die", good=""), isolate=True) == 1
    assert result("dead")["error"] == "its process was killed by signal 9"
    assert result("good")["status"] == "completed"


def test_retries_run_a_failed_cell_again_at_once() -> None:
    assert run(behaving(shaky="fail once", good=""), retries=1) == 0
    assert sorted(ran().values()) == [1, 2]
    assert result("shaky")["status"] == "completed"


def test_a_half_written_record_is_run_again_and_a_foreign_one_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    run(study())
    first, second, *_ = sorted(Path("runs").glob("*/result.json"))
    first.write_text(first.read_text()[:40])
    second.write_text('{"schema": 7}')
    assert run(study()) == 1
    assert ran()[first.parent.name] == 2
    assert ran()[second.parent.name] == 1
    assert second.read_text() == '{"schema": 7}'
    assert f"left alone: {second.parent.name}" in capfd.readouterr().err.replace("\n", "")


def test_no_resume_wants_a_new_ledger() -> None:
    run(study())
    with pytest.raises(BadInput, match="holds a study already"):
        run(study(), resume=False)


def test_two_studies_cannot_work_on_one_ledger() -> None:
    Path("runs").mkdir()
    with FileLock(f"runs/{LOCK_FILE}"), pytest.raises(BadInput, match="another study is at work"):
        run(study())
    assert not ran()


def test_a_plan_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(study(), plan=True) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert not ran()
    assert not Path("runs").exists()


def test_cells_share_a_machine_only_when_told_to_and_are_then_marked() -> None:
    two = study()
    two.grid["strategy"] = ["block"]
    with pytest.raises(BadInput, match="share this machine"):
        run(two, workers=2, isolate=True)
    assert run(two, workers=2, isolate=True, share_machine=True) == 0
    records = [json.loads(path.read_text()) for path in Path("runs").glob("*/result.json")]
    assert [record["shared_machine"] for record in records] == [True] * 2
    assert "shared their machine" in Path("runs/report/tables.md").read_text()


def test_a_ledger_that_cannot_be_written_is_told() -> None:
    Path("runs").touch()
    with pytest.raises(BadInput, match="cannot make the ledger"):
        run(study())


@contextmanager
def held_in_the_third_cell(isolate: bool) -> Iterator[subprocess.Popen[bytes]]:
    """The same study in a process of its own, while its third cell runs and does not end."""
    restore = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # pytest in the background has it ignored
    code = f"import signal, sys, test_study_run as t; {restore}; sys.exit(t.run(t.study(), isolate={isolate}))"
    environment = {**os.environ, HOLD: "3"}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True)
    try:
        wait_until(lambda: Path("held").exists() and Path("held").read_text() != "")
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def held_cell_is_gone() -> bool:
    try:
        return psutil.Process(int(Path("held").read_text())).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def done() -> set[str]:
    return {path.parent.name for path in Path("runs").glob("*/result.json")}


@pytest.mark.parametrize("isolate", [False, True])
def test_a_killed_study_goes_on_and_its_tables_are_those_of_one_that_was_not(isolate: bool) -> None:
    with held_in_the_third_cell(isolate) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(held_cell_is_gone)  # no cell is left to write into the ledger
    before = done()
    assert len(before) == 2
    assert run(study()) == 0
    assert sorted(ran().values()) == [1, 1, 1, 1, 1, 2]
    assert all(ran()[key] == 1 for key in before)
    resumed = tables()
    assert run(study(root=Path("whole"))) == 0
    Path("runs").rename("old")
    Path("whole").rename("runs")
    assert tables() == resumed


@pytest.mark.parametrize("isolate", [False, True])
def test_an_interrupted_study_ends_its_cell_and_can_go_on(isolate: bool) -> None:
    with held_in_the_third_cell(isolate) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(120) != 0
        assert held_cell_is_gone()
    assert len(ran()) == 3
    assert run(study()) == 0
    assert len(done()) == 6


def test_ray_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match="Ray is not installed"):
        run(study(), executor="ray")


def test_a_cluster_that_cannot_be_reached_is_told() -> None:
    pytest.importorskip("ray")
    with pytest.raises(BadInput, match="no Ray cluster at 127"):
        run(study(), executor="ray", address="127.0.0.1:1")


def test_a_ray_cluster_gives_the_same_records_cell_by_cell() -> None:
    ray = pytest.importorskip("ray")
    assert run(study()) == 0
    ours = {path.parent.name: path.read_text() for path in Path("runs").glob("*/result.json")}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert run(study(root=Path("cluster")), executor="ray") == 0
        theirs = {path.parent.name: path.read_text() for path in Path("cluster").glob("*/result.json")}
        assert theirs == ours
        given = behaving(dead="die", good="")
        given.root = Path("dying")
        assert run(given, executor="ray", share_machine=True, cpus=0.5) == 1
        (dead,) = Path("dying").glob("dead*/result.json")
        assert "its worker failed" in json.loads(dead.read_text())["error"]
        (good,) = Path("dying").glob("good*/result.json")
        assert json.loads(good.read_text())["shared_machine"]
        with pytest.raises(BadInput, match="no machine in the cluster has 64"):
            run(study(root=Path("big")), executor="ray", cpus=64)
    finally:
        ray.shutdown()


def test_the_table_of_a_study_is_logged_to_wandb_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setattr(figures, "all_figures", lambda results: {"pareto": energy_figures.pareto(results)})
    assert run(study(), wandb="offline") == 0
    (folder,) = Path("runs/wandb").glob("offline-run-*")
    assert list(folder.glob("files/media/table/study/records*.json"))
    assert list(folder.glob("files/media/images/figures/pareto*.png"))
