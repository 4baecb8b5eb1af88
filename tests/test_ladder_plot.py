"""The climb up the ladder of remedies as a picture of a run."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tbft.runs.ladder_plot import draw_ladder, plot_ladder, steps_of
from tbft.study.reporting.chart import draw_alone
from tbft.study.reporting.ladder_figure import ladders
from tbft.study.reporting.ledger_reading import read_ledger
from tbft.study.reporting.results import Results


def tried(*remedies: str, accuracy: float | None = 0.5, accepted: bool = False, cpu_seconds: float | None = None):
    interval = accuracy and {"value": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
    return {"remedies": list(remedies), "accuracy": interval, "accepted": accepted, "cpu_seconds": cpu_seconds}


CLIMB = {
    "cpu_seconds": {"adaptation": 5.0},
    "remedies": [
        tried("keep", accuracy=0.2, accepted=True, cpu_seconds=0.5),
        tried("refresh", accuracy=0.6, accepted=True, cpu_seconds=1.0),
        tried("refresh", "prior", accuracy=0.55, cpu_seconds=0.25),
        tried("refresh", "align", accuracy=0.7, accepted=True, cpu_seconds=2.0),
        tried("full", accuracy=0.8, cpu_seconds=4.0),
    ],
}


def untimed(record):
    return {**record, "remedies": [{**step, "cpu_seconds": None} for step in record["remedies"]]}


def test_each_step_stands_at_the_time_spent_until_its_end():
    assert [step.cpu_seconds for step in steps_of(CLIMB)] == [0.5, 1.5, 1.75, 3.75, 7.75]
    assert [step.rung for step in steps_of(CLIMB)] == ["keep", "refresh", "refresh", "align", "full"]


def test_steps_without_a_time_share_what_the_others_leave():
    assert [step.cpu_seconds for step in steps_of(untimed(CLIMB))] == [5.0] * 5
    mixed = {**CLIMB, "remedies": [*untimed(CLIMB)["remedies"][:3], tried("input block", cpu_seconds=3.0)]}
    assert [step.cpu_seconds for step in steps_of(mixed)] == [2.0, 2.0, 2.0, 5.0]
    assert steps_of(mixed)[-1].rung == "block"
    dear = {**CLIMB, "remedies": [tried("keep"), tried("full", cpu_seconds=9.0)]}  # beyond what the phases have booked
    assert [step.cpu_seconds for step in steps_of(dear)] == [0.0, 9.0]


def test_a_step_without_an_estimate_only_takes_its_time():
    record = {"remedies": [tried("refresh", "align", accuracy=None, cpu_seconds=1.0), tried("keep", cpu_seconds=0.5)]}
    assert [(step.rung, step.cpu_seconds) for step in steps_of(record)] == [("keep", 1.5)]
    assert steps_of({"remedies": []}) == steps_of({}) == []


def test_the_line_is_what_stands_and_refused_steps_are_hollow():
    axes = Figure().add_subplot()
    draw_ladder(axes, steps_of(CLIMB), lambda step: "accepted" if step.accepted else "refused")
    line, *markers = axes.lines[:1] + [container[0] for container in axes.containers]
    assert list(line.get_xdata()) == [0.5, 1.5, 3.75, 7.75]
    assert list(line.get_ydata()) == pytest.approx([20.0, 60.0, 70.0, 70.0])
    assert [marker.get_markerfacecolor() == "none" for marker in markers] == [False, False, True, False, True]
    assert all(container.has_yerr for container in axes.containers)


@pytest.mark.parametrize("record", [CLIMB, untimed(CLIMB)])
def test_a_run_draws_its_climb_and_one_without_a_climb_nothing(tmp_path, record):
    assert plot_ladder(record, tmp_path / "ladder.png") == tmp_path / "ladder.png"
    assert (tmp_path / "ladder.png").read_bytes().startswith(b"\x89PNG")
    assert plot_ladder({"remedies": []}, tmp_path / "none.png") is None and not (tmp_path / "none.png").exists()


def test_a_climb_that_cannot_be_drawn_does_not_fail_the_run(tmp_path, caplog):
    assert plot_ladder(CLIMB, tmp_path / "no folder" / "ladder.png") is None
    assert "was not drawn" in caplog.text


def test_a_study_draws_a_panel_for_each_drift_and_the_other_seeds_as_thin_lines(tmp_path):
    from study_stand_in import record, write_record

    for drift, seed in (("noise", 0), ("noise", 1), ("fog", 0)):
        content = record("input", "auto", seed, remedies=CLIMB["remedies"])
        content["drift"] = {"level": "input", "name": drift, "severity": 5}
        write_record(tmp_path, f"{drift}{seed}", content)
    write_record(tmp_path, "named", record("input", "block", 0))
    panels = ladders(Results(read_ledger(tmp_path)[0])).panels
    assert [panel.title.splitlines()[0] for panel in panels] == ["fog 5", "noise 5"]
    thin = [sum(line.get_linewidth() == 0.5 for line in draw_alone(panel).axes[0].lines) for panel in panels]
    assert thin == [0, 1]


def test_a_run_that_climbs_leaves_its_picture_and_logs_it_and_the_next_run_takes_it_away(run):
    options = ["--run.threads", "1", "--energy.codecarbon", "false", "--energy.sources", "model"]
    auto = ["fit", "--config", "auto.yaml", "--ladder.train", "false", "--data.init_args.train_size", "60", *options]
    code, record = run(*auto, "--data.label_map", "flip", "--energy.plot", "true", wandb="offline")
    picture = Path("runs/run/ladder.png")
    assert code == 0 and record["remedies"] and picture.read_bytes().startswith(b"\x89PNG")
    (logged,) = Path("runs/run/wandb").glob("offline-run-*/files/media/images/ladder_*.png")
    assert logged.read_bytes() == picture.read_bytes()
    code, _ = run("fit", "--config", "output.yaml", "--run.overwrite", "true", "--energy.plot", "false", *options)
    assert code == 0 and not picture.exists() and not picture.with_name("power.png").exists()
