"""Studies of real runs on the digits: what TBFT costs against full fine-tuning, and a cluster's accuracies."""

import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tbft.cli import main
from tbft.models import build, read_weights, save_weights
from tbft.options import presets
from tbft.schema import RunRecord
from tbft.study.reporting import figures
from tbft.study.reporting.ablation_table import ablation_table
from tbft.study.reporting.ledger_reading import read_ledger
from tbft.study.reporting.results import Results, adaptation_cpu_seconds
from tbft.study.running.command import Execution, execute
from tbft.study.running.fit_parser import check_arguments
from tbft.study.running.grid import Study


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, in which the ledger of each study is `runs/NAME`; reports have tables alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figures, "all_figures", lambda results: {})


def records_in(root: str) -> list[Path]:
    return sorted(Path(root).glob("*/result.json"))


def median_cpu_seconds(results: Results) -> dict[str, dict[str, float]]:
    """CPU-seconds of a whole adaptation, by level and strategy: medians over seeds."""
    return {
        setting.level: {
            name: median(results.by_pair(setting, name, adaptation_cpu_seconds).values())
            for name in results.series(setting)
        }
        for setting in results.settings()
    }


def test_tbft_is_cheaper_than_full_fine_tuning_at_every_level() -> None:
    excluded = "{drift: [gaussian_noise, rotate]}, {strategy: [paper-full, paper-full-adam]}"
    few = ["--grid.seed", "[0]", "--exclude", f"[{excluded}, {{drift: [contrast, superclasses], strategy: auto}}]"]
    few += ["--options.data.train_size", "60", "--options.data.test_size", "100"]
    assert main(["study", "--config", "study/savings_digits.yaml", "--no_isolate", *few]) == 0
    records, problems = read_ledger(Path("runs/savings_digits"))
    assert not problems
    cost = median_cpu_seconds(Results(records))
    assert set(cost) == {"input", "feature", "output"}
    assert {record.number_format for record in records} == {records[0].number_format} != {""}
    assert len({record.revision for record in records}) == 1 and records[0].revision
    assert {record.part for record in records} == {"development"}
    for level, of in cost.items():
        assert of["block"] < of["tuned-full"], level
    assert "auto" in cost["output"]  # the drift is the study's, though nobody named its level
    saved = {level: 1 - of["block"] / of["tuned-full"] for level, of in cost.items()}
    assert saved["output"] == max(saved.values())
    page = Path("runs/savings_digits/report/tables.md").read_text()
    assert "15.09" in page and "47.29" in page and "67.92" in page  # the paper's, beside ours


def test_what_an_ablation_leaves_out_changes_the_cost_and_not_what_is_learned() -> None:
    preset = yaml.safe_load(presets.find("study/ablation.yaml").read_text())
    ablated = preset["grid"]["strategy"]
    names = ["block", "without skipped weight gradients", "without cached features", "without a solved head"]
    drifts = {level: {"config": f"{level}.yaml"} for level in ("input", "feature", "output")}
    study = Study(
        "ablation",
        Path("runs"),
        {"drift": drifts, "strategy": {name: ablated[name] for name in names}},
        {"data": {"train_size": 60, "test_size": 100}, "model.number_format": "plain"},
        exclude=[
            {"drift": "input", "strategy": names[2:]},
            {"drift": "feature", "strategy": [names[1], names[3]]},
            {"drift": "output", "strategy": names[1:3]},
        ],
    )
    assert execute(study, Execution(), check_arguments, "tbft.cli:main") == 0
    records = {(record.level, record.series): record for record in read_ledger(Path("runs"))[0]}
    weights = {key: load_file(Path("runs") / record.key / "model.safetensors") for key, record in records.items()}
    for level, name in (("input", names[1]), ("feature", names[2])):
        ours, theirs = weights[level, "block"], weights[level, name]
        assert all(torch.allclose(ours[key], theirs[key], atol=1e-4) for key in ours), name
    assert records["input", names[1]].key != records["input", "block"].key
    assert ("output", names[3]) in records
    assert {row[5] for row in ablation_table(Results(records.values())).rows} == {"block, with all ideas", *names[1:]}


def test_a_report_takes_the_feature_levels_block_of_a_network_of_four_stages_from_its_runs() -> None:
    base = read_weights("digits_superclasses")
    network = build("resnet18", num_classes=len(base.classes), image_size=base.image_size)
    save_weights(network, Path("base.safetensors"), base.classes)
    options = {
        "config": "feature.yaml",
        "model.base": "base.safetensors",
        "data": {"train_size": 20, "test_size": 10},
        "trainer.max_epochs": 0,
    }
    study = Study("stages", Path("runs"), {"strategy": ["block", "block3"]}, options)
    assert execute(study, Execution(), check_arguments, "tbft.cli:main") == 0
    results = Results(read_ledger(Path("runs"))[0])
    (setting,) = results.settings()
    assert (results.level_block(setting), results.target(setting)) == ("block4", "block")
    assert results.single_blocks(setting) == {"block3": "block3", "block4": "block"}
    assert all(json.loads(path.read_text()).keys() <= RunRecord.__annotations__.keys() for path in records_in("runs"))


def four_cells(root: str) -> Study:
    grid: dict[str, Any] = {
        "drift": {"feature": {"config": "feature.yaml"}, "output": {"config": "output.yaml"}},
        "strategy": ["block", "fc"],
    }
    options = {"data.train_size": 100, "trainer.max_epochs": 2}
    return Study("few", Path(root), grid, options)


def test_a_cluster_reaches_the_same_accuracies_cell_by_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    assert execute(four_cells("local"), Execution(), check_arguments, "tbft.cli:main") == 0
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert execute(four_cells("cluster"), Execution(executor="ray"), check_arguments, "tbft.cli:main") == 0
    finally:
        ray.shutdown()
    here, there = (
        {path.parent.name: json.loads(path.read_text()) for path in Path(root).glob("*/result.json")}
        for root in ("local", "cluster")
    )
    assert len(here) == 4 and here.keys() == there.keys()
    for key, record in here.items():
        assert there[key]["accuracy"] == record["accuracy"], key
        assert there[key]["environment"]["threads"] == record["environment"]["threads"]
        assert (Path("cluster") / key / "model.safetensors").is_file()
