"""Files, the data set's name and options may stand in any order; what is missing is said in one line."""

import re
import shlex

import pytest
import yaml

from tbft.cli import main
from tbft.command_line.argument_order import in_order
from tbft.options import presets
from tbft.study.running.fit_parser import check_arguments

ORDERS = [
    ("--config strategy/tuned-full-input.yaml --config data/digits.yaml", "--config data/digits.yaml"),
    ("--config pi.yaml --data Digits", "--data Digits --config pi.yaml"),
    ("--data.severity 3 --config input.yaml", "--config input.yaml --data.severity 3"),
    ("--data.train_size 40 --data Digits", "--data Digits --data.train_size 40"),
    ("--data.init_args.train_size=40 -c input.yaml", "-c input.yaml --data.train_size 40"),
    ("--trainer.max_epochs 7 --config input.yaml", "--config input.yaml --trainer.max_epochs 7"),
]


def resolved(run, capsys, line):
    assert run("fit", *shlex.split(line), "--print_config")[0] == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("line, other", ORDERS[1:])
def test_the_order_of_files_and_options_does_not_matter(run, capsys, line, other):
    assert resolved(run, capsys, line) == resolved(run, capsys, other)


def test_a_strategy_may_stand_before_the_data_set(run, capsys):
    found = resolved(run, capsys, ORDERS[0][0])
    assert found["data"]["class_path"].endswith("Digits") and found["data"]["init_args"]["batch_size"] == 64
    check_arguments(shlex.split(ORDERS[0][0]))
    options = "--config strategy/tuned-full-input.yaml --config data/cifar10.yaml --data.root X"
    assert resolved(run, capsys, options)["data"]["init_args"]["root"] == "X"


def test_later_files_still_win_over_earlier_ones():
    assert in_order(["--print_config", "-c", "pi.yaml", "--data", "Digits"])[-1] == "--print_config"
    files = ["--config=input.yaml", "-c", "pi.yaml"]
    assert in_order(["--data.root=x", *files, "--data", "CIFAR10"]) == [*files, "--data", "CIFAR10", "--data.root=x"]


ALONE = {
    "--config strategy/block1.yaml": "does not say of what data: give --config auto.yaml",
    "--data.root X": "--data.root is of a data set and none is named",
    "--data Foo.Bar": r"data is Foo.Bar, which cannot be made \(No module named 'Foo'\)",
    "--data Digits --data.label_map '{a: b}'": "data.label_map does not take {'a': 'b'}",
    "--config feature.yaml --trainer.callbacks Foo": "trainer.callbacks does not take Foo",
    "--config feature.yaml --model.optimizer 5": "model.optimizer does not take 5",
}
"""What is missing or wrong, and what is said of it."""


def said_of(line, capsys, command="fit"):
    code = main([command, *shlex.split(line)])
    (said,) = capsys.readouterr().err.splitlines()
    assert code == 2 and len(said) < 260, said
    assert not any(words in said for words in ("Union", "Subtypes", "Traceback")), said
    return said


@pytest.mark.parametrize("line", ALONE)
def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch, capsys, line):
    monkeypatch.chdir(tmp_path)
    assert re.search(ALONE[line], said_of(line, capsys))


@pytest.mark.parametrize(
    "data", ["5", "[1]", "{init_args: 5}", "{class_path: Digits, init_args: 5}", "{class_path: 5}"]
)
def test_a_section_of_no_use_is_said_in_one_line(tmp_path, monkeypatch, capsys, data):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(f"data: {data}")
    said_of("--config mine.yaml", capsys)


PARTS = [name for name in presets.names() if ("/" in name or name in ("pi.yaml", "gpu.yaml"))]
PARTS.remove("base/digits.yaml")  # which needs nothing


@pytest.mark.parametrize("name", PARTS)
def test_a_preset_alone_says_what_it_needs(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load((presets.folder() / name).read_text())
    data = content.get("data", {})
    if "grid" in content:
        words = f"{name} is a study and no configuration of one run: python -m tbft study --config {name}"
    elif name == "data/digits.yaml":
        words = "there is no network: give model.base"
    elif "class_path" in data:
        words = f"data set {data['class_path']} needs --data.root (folder "
    elif data:
        words = f"{name} gives options of data and no data set is named: lay it over a preset that names one"
    else:
        words = "fit does not say of what data"
    assert words in said_of(f"--config {name}", capsys)
    assert not any(tmp_path.iterdir())


def test_a_study_names_what_is_no_study(capsys):
    said = said_of("--config feature.yaml", capsys, command="study")
    assert "feature.yaml has a section data and no grid: it is for python -m tbft fit --config feature.yaml" in said
