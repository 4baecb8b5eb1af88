"""The tables of ``test`` and ``validate``."""

import re

import torch

from tbft.adaptation.score import Tally
from tbft.command_line.scores import print_scores


def tally_of(labels: list[int], predicted: list[int], classes: int) -> Tally:
    tally = Tally()
    tally.add(torch.nn.functional.one_hot(torch.tensor(predicted), classes).float(), torch.tensor(labels))
    return tally


def rows_of(printed: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in printed.splitlines()]
    return {row[0]: row[1:] for row in cells if row}


def test_each_class_has_its_accuracy_and_its_images(capsys):
    print_scores("test", tally_of([0, 0, 0, 1], [0, 0, 1, 1], 3), ("cat [old]", "dog", "never seen"))
    rows = rows_of(capsys.readouterr().out)
    assert rows["test/accuracy"] == ["0.750000", "3", "4"]
    assert rows["cat [old]"] == ["66.7 %", "2", "3"] and rows["dog"] == ["100.0 %", "1", "1"]
    assert "never seen" not in rows


def test_of_many_classes_the_least_accurate_are_shown(capsys):
    labels = [*range(50)] * 2
    predicted = [*range(50), *range(30), *[0] * 20]  # the last 20 classes are right once of twice
    print_scores("val", tally_of(labels, predicted, 50), [f"class {i}" for i in range(50)])
    rows = rows_of(capsys.readouterr().out)
    assert {name for name in rows if name.startswith("class ")} == {f"class {i}" for i in range(30, 50)}
    assert "30 classes with a higher accuracy" in rows


def test_the_command_shows_them_unless_told_not_to(run, capsys):
    run("fit", "--config", "output.yaml", "--run.name", "run", "--run.wandb", "off", "--data.test_size", "50")
    capsys.readouterr()
    assert run("test", "--config", "runs/run/config.yaml")[0] == 0
    assert rows_of(capsys.readouterr().out)["test/accuracy"][2] == "50"
    assert run("test", "--config", "runs/run/config.yaml", "--verbose", "false")[0] == 0
    assert "test/accuracy" not in capsys.readouterr().out
