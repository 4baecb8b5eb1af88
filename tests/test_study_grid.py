"""A grid becomes cells with stable keys, and says what is wrong before anything runs."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from study_stand_in import check

from tbft.errors import BadInput
from tbft.options import presets
from tbft.study.running import fit_parser
from tbft.study.running.cell_tags import tags_of
from tbft.study.running.command import study_parser
from tbft.study.running.fit_parser import check_arguments
from tbft.study.running.grid import Cell, Study, cells_of
from tbft.study.running.run import plan


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Presets of the grids below, found in the working folder."""
    (tmp_path / "strategy").mkdir()
    for name in ("input", "output", "strategy/fc", "strategy/bn"):
        (tmp_path / f"{name}.yaml").write_text(f"# a comment\nfreeze: {{level: {name}}}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study(**changes: Any) -> Study:
    grid = {
        "drift": {"input": {"config": "input.yaml"}, "output": {"config": ["output.yaml"]}},
        "strategy": ["block", "fc", "bn"],
        "data.train_size": [100, 200],
        "seed": [0, 1],
    }
    return Study(**{"name": "quick", "root": Path("runs"), "grid": grid, **changes})


def test_each_combination_is_one_cell() -> None:
    cells = cells_of(study())
    assert len(cells) == len({cell.key for cell in cells}) == 2 * 3 * 2 * 2


def test_a_cell_is_a_command_line_of_fit_with_the_strategy_laid_over_the_level() -> None:
    given = study(options={"trainer": {"max_epochs": 3}, "run.test": True, "model.base": None})
    cell = next(c for c in cells_of(given) if set(c.labels.values()) == {"output", "fc", "200", "1"})
    assert " ".join(cell.arguments) == (
        "--config output.yaml --config strategy/fc.yaml --seed_everything 1 --trainer.max_epochs 3 --run.test true "
        "--model.base null --data.train_size 200"
    )
    assert cell.key.startswith("output-fc-train_size200-seed1-")


def test_keys_stay_when_the_grid_grows_and_change_when_a_preset_does(working_folder: Path) -> None:
    keys = {cell.key for cell in cells_of(study())}
    grown = study()
    grown.grid["seed"] = [0, 1, 2]
    assert keys < {cell.key for cell in cells_of(grown)}
    (working_folder / "input.yaml").write_text("freeze: {level: input}  # another comment\n")
    assert keys == {cell.key for cell in cells_of(study())}
    (working_folder / "input.yaml").write_text("freeze: {level: input, statistics: batch}\n")
    changed = {cell.key for cell in cells_of(study())}
    assert len(changed & keys) == len(keys) / 2


def test_repeats_run_the_same_arguments_under_different_keys() -> None:
    given = study(grid={"drift": {"input": {"config": "input.yaml"}}, "repeat": 3})
    cells = cells_of(given)
    assert len({cell.key for cell in cells}) == 3
    assert len({cell.arguments for cell in cells}) == 1


def test_seeds_are_outermost_and_strategies_take_turns() -> None:
    cells = cells_of(study(grid={**study().grid, "seed": list(range(6))}))
    assert [cell.labels["seed"] for cell in cells] == sorted(cell.labels["seed"] for cell in cells)
    turns = [tuple(c.labels["strategy"] for c in cells[i : i + 3]) for i in range(0, len(cells), 3)]
    assert all(len(set(turn)) == 3 for turn in turns)
    assert len(Counter(turn[0] for turn in turns)) == 3
    assert cells == cells_of(study(grid={**study().grid, "seed": list(range(6))}))
    assert cells != cells_of(study(grid={**study().grid, "seed": list(range(6))}, order_seed=1))


def test_parts_of_the_grid_can_be_left_out() -> None:
    cells = cells_of(study(exclude=[{"data.train_size": 200, "seed": [1]}, {"drift": "output", "strategy": "bn"}]))
    assert len(cells) == 24 - 6 - 4 + 1
    assert not any(c.labels["data.train_size"] == "200" and c.labels["seed"] == "1" for c in cells)


def parsed(text: str, *args: str) -> Study:
    """A study as the command line reads it from a file, with further arguments."""
    Path("own.yaml").write_text(f"name: own\nroot: runs\n{text}", encoding="utf-8")
    given = study_parser().parse_args(["--config", "own.yaml", *args])
    return Study(**{name: given[name] for name in Study.__dataclass_fields__})


def option(cell: Cell, name: str) -> str:
    return dict(zip(cell.arguments[::2], cell.arguments[1::2], strict=True))[f"--{name}"]


STRINGS = ["off", "on", "no", "1", "1e-3", "0x10", "1:30", "[1, 2]", "{a: b}", "a: b", "a, b", "'q'", '"', " ", "é", ""]


def test_strings_reach_fit_as_they_are_whatever_yaml_would_read_them_as() -> None:
    quoted = json.dumps(STRINGS)
    grid = parsed(f"grid: {{model.x: {quoted}}}")
    assert [option(cell, "model.x") for cell in cells_of(grid)] == STRINGS
    for text in STRINGS:
        scalar = json.dumps(text)
        given = parsed(f"grid: {{drift: {{{scalar}: {{model.x: {scalar}}}}}}}\noptions: {{model: {{y: {scalar}}}}}")
        (cell,) = cells_of(given)
        assert (cell.labels["drift"], option(cell, "model.x"), option(cell, "model.y")) == (text, text, text)


def test_a_string_of_a_study_is_the_string_that_fit_parses() -> None:
    (cell,) = cells_of(parsed('grid: {run.wandb: ["off"]}\noptions: {run.name: "1e-3", data: Digits}'))
    settings = fit_parser._parser().parse_args(["fit", *cell.arguments])["fit"]["run"]
    assert (settings["wandb"], settings["name"]) == ("off", "1e-3")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("off", "false"),
        ("1e-3", "0.001"),
        ("1.0e-3", "0.001"),
        ("7", "7"),
        ("null", "null"),
        ("~", "null"),
        ("'null'", "null"),
        (".inf", ".inf"),
        ("[1, [2, 'off']]", '[1, [2, "off"]]'),
    ],
)
def test_values_are_written_so_that_fit_reads_them_again(written: str, text: str) -> None:
    (cell,) = cells_of(parsed(f"grid: {{model.x: [{written}]}}\noptions: {{model.y: {written}}}"))
    assert (cell.labels["model.x"], option(cell, "model.x"), option(cell, "model.y")) == (text, text, text)


@pytest.mark.parametrize(
    ("axis", "clause"),
    [
        ("{cache.enabled: [on, off]}", "{cache.enabled: off}"),
        ("{cache.enabled: [on, off]}", "{cache.enabled: [off]}"),
        ('{run.wandb: ["on", "off"]}', '{run.wandb: "off"}'),
        ("{drift: {on: {model.x: 1}, off: {model.x: 2}}}", "{drift: off}"),
        ("{drift: {1: {model.x: 1}, 2: {model.x: 2}}}", "{drift: 2}"),
        ('{seed: ["0", "1"]}', "{seed: 1}"),
        ("{seed: [0, 1]}", '{seed: ["1"]}'),
        ("{model.x: [1, null]}", "{model.x: null}"),
        ("{model.x: [1.0e-3, 0.01]}", "{model.x: 1e-2}"),
        ('{model.x: ["", "a, b"]}', '{model.x: "a, b"}'),
        ("{freeze.blocks: [[block1], [block2, fc]]}", "{freeze.blocks: [block2, fc]}"),
        ("{freeze.blocks: [[block1], []]}", "{freeze.blocks: []}"),
        ("{on: [1, 2]}", "{on: 2}"),
        ("{freeze.blocks: [[block1], [fc]]}", "{freeze.blocks: [[fc]]}"),
    ],
)
def test_any_place_of_an_axis_can_be_excluded_as_it_is_written(axis: str, clause: str) -> None:
    first, second = cells_of(parsed(f"grid: {axis}"))
    assert [cell.key for cell in cells_of(parsed(f"grid: {axis}\nexclude: [{clause}]"))] == [first.key]
    assert [cell.key for cell in cells_of(parsed(f"grid: {axis}", "--exclude", f"[{clause}]"))] == [first.key]
    assert first.labels != second.labels


def test_a_number_given_on_the_command_line_is_the_cell_of_the_file() -> None:
    written = cells_of(parsed("grid: {repeat: 2}\noptions: {data.train_size: 8}"))
    given = cells_of(parsed("grid: {}", "--grid.repeat", "2", "--options.data.train_size", "8"))
    assert [cell.key for cell in given] == [cell.key for cell in written]


@pytest.mark.parametrize(
    ("options", "axis", "value", "expected"),
    [
        ({"data.init_args.batch_size": 4}, "data.batch_size", 8, "--data.batch_size 8"),
        ({"data": {"batch_size": 4}}, "data.init_args.batch_size", 8, "--data.init_args.batch_size 8"),
        ({"model.learning_rates": {"fc": 0.1}}, "model.learning_rates", None, "--model.learning_rates null"),
    ],
)
def test_an_axis_wins_over_an_option_of_the_study_however_it_is_spelled(
    options: dict[str, Any], axis: str, value: Any, expected: str
) -> None:
    (cell,) = cells_of(study(grid={axis: [value]}, options=options))
    assert " ".join(cell.arguments) == expected


def write_recipe(folder: Path) -> None:
    (folder / "strategy" / "recipe.yaml").write_text(
        "model: {optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1}}, learning_rates: null}\n"
        "data: {init_args: {batch_size: 64}}\n"
    )


def test_what_a_strategys_preset_sets_wins_over_the_options_of_study_and_level(working_folder: Path) -> None:
    write_recipe(working_folder)
    level = {"config": "input.yaml", "model.optimizer.init_args.lr": 0.5, "data.train_size": 100}
    options = {
        "data.batch_size": 8,
        "model": {"optimizer": "torch.optim.Adam", "learning_rates": {"fc": 0.1}, "base": "digits"},
        "model.optimizer.init_args.weight_decay": 0.2,
    }
    cells = cells_of(study(grid={"drift": {"input": level}, "strategy": ["block", "recipe"]}, options=options))
    (recipe,) = (cell for cell in cells if cell.labels["strategy"] == "recipe")
    (block,) = (cell for cell in cells if cell.labels["strategy"] == "block")
    assert " ".join(recipe.arguments) == (
        "--config input.yaml --config strategy/recipe.yaml --model.base digits --data.train_size 100 "
        "--model.optimizer.init_args.weight_decay 0.2"
    )
    assert {"--data.batch_size", "--model.learning_rates.fc", "--model.optimizer"} <= set(block.arguments)


def test_options_of_a_strategy_of_ones_own_win_over_its_preset(working_folder: Path) -> None:
    write_recipe(working_folder)
    own = {"mine": {"config": "strategy/recipe.yaml", "data.batch_size": 16}}
    (cell,) = cells_of(study(grid={"strategy": own}, options={"data.batch_size": 8}))
    assert option(cell, "data.batch_size") == "16"


def test_an_axis_over_what_a_strategy_sets_is_refused_but_for_its_own_value(working_folder: Path) -> None:
    write_recipe(working_folder)
    given = study(grid={"data.batch_size": [8, 64], "strategy": ["block", "recipe"]})
    with pytest.raises(BadInput, match=r"recipe sets data\.batch_size to 64, so grid\.data\.batch_size cannot"):
        cells_of(given)
    given.exclude = [{"strategy": "recipe", "data.batch_size": 8}]
    assert len(cells_of(given)) == 3


def test_a_strategy_may_have_a_dot_in_its_name(working_folder: Path) -> None:
    (working_folder / "strategy" / "lr0.1.yaml").write_text("freeze: {blocks: [fc]}\n")
    (cell,) = cells_of(study(grid={"strategy": ["lr0.1"]}))
    assert (cell.labels["strategy"], cell.arguments) == ("lr0.1", ("--config", "strategy/lr0.1.yaml"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid": {}}, "the grid of study 'quick' is empty"),
        ({"grid": {"seed": []}}, r"grid\.seed is empty"),
        ({"grid": {"seed": 3}}, "give a list of values"),
        ({"grid": {"seed": [0, "a"]}}, r"grid\.seed has a: give whole numbers"),
        ({"grid": {"seed": [-1]}}, r"grid\.seed has -1: give whole numbers"),
        ({"grid": {"seed": [True]}}, r"grid\.seed has true: give whole numbers"),
        ({"grid": {"seed": [1, "1"]}}, r"grid\.seed has 1 twice"),
        ({"grid": {"drift": {1: {"model.x": 1}, "1": {"model.x": 2}}}}, r"grid\.drift has 1 twice"),
        ({"grid": {"a.x": [1], "drift": {"d": {"a": {"x": 2}}}}}, "the axes a.x and drift both set a.x"),
        ({"grid": {"run.wandb": ["off"]}, "exclude": [{"run.wandb": False}]}, "names false, .*put on, off.*in quotes"),
        ({"grid": {"drift": {"input": "input.yaml"}}}, "give a mapping of fit options"),
        ({"grid": {"seed": [1, 1]}}, r"grid\.seed has 1 twice"),
        ({"grid": {"drift": {"a": {"config": "input.yaml"}, "b": {"config": "input.yaml"}}}}, "same arguments"),
        ({"grid": {"strategy": ["blok"]}}, "no configuration 'strategy/blok.yaml'"),
        ({"exclude": [{"size": 1}]}, "names the axis 'size'"),
        ({"exclude": [{"seed": 7}]}, "names 7"),
        ({"exclude": [{"seed": [0, 1]}]}, "has no cell"),
        ({"exclude": [{}]}, "exclude has an empty clause"),
        ({"exclude": [{"strategy": []}]}, r"exclude\.strategy is empty"),
    ],
)
def test_a_wrong_grid_is_told_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        cells_of(study(**changes))


def test_an_option_that_fit_does_not_know_is_told_before_anything_runs() -> None:
    with pytest.raises(BadInput, match=r"cell input-block-.*did you mean --trainer\.max_epochs"):
        plan(study(options={"trainer.max_epoch": 3}), check)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data.trainsize": 3}, r"^fit does not know data\.trainsize .*: did you mean data\.train_size\?$"),
        ({"trainer.max_epoch": 3}, r"^fit does not know trainer\.max_epoch .*: did you mean trainer\.max_epochs\?$"),
        ({"xyzzy": 3}, r"^fit does not know xyzzy .*: leave it out"),
        ({"xyzzy": 3, "data.trainsize": 3}, "^fit does not know "),
    ],
)
def test_an_unknown_option_is_one_short_line_with_the_one_that_was_meant(
    options: dict[str, Any], words: str, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(working_folder / "strategy")  # where no file stands before a shipped one
    given = study(grid={"drift": {"input": {"config": "input.yaml"}}}, options=options)
    with pytest.raises(BadInput, match=words) as told:
        plan(given, check_arguments)
    assert len(str(told.value)) < 160


def test_a_cell_is_tagged_with_its_place_and_its_level(working_folder: Path) -> None:
    (working_folder / "strategy" / "fc.yaml").write_text("freeze: {blocks: [block2, fc]}\n")
    given = study(grid={"strategy": ["block", "fc", "bn"]}, options={"config": "input.yaml"})
    tags = {cell.labels["strategy"]: tags_of(cell) for cell in cells_of(given)}
    assert tags["block"] == ["strategy:block", "level:input"]
    assert tags["fc"] == ["strategy:fc", "level:input"]
    told = study(grid={"seed": [0]}, options={"config": "input.yaml", "freeze": {"level": "output", "blocks": []}})
    assert tags_of(cells_of(told)[0]) == ["seed:0", "level:output"]


def test_fit_checks_each_place_on_each_axis_once_or_so() -> None:
    checked: list[str] = []
    cells = plan(study(), lambda args: checked.append(" ".join(args)))
    assert len(checked) < len(cells) / 3
    for word in ("input.yaml", "output.yaml", "strategy/fc.yaml", "strategy/bn.yaml", "train_size 200"):
        assert any(word in line for line in checked)


def shipped() -> list[str]:
    return [name for name in presets.names() if name.startswith("study/")]


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_study_makes_cells_that_fit_understands(
    name: str, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(working_folder / "strategy")  # where no file stands before a shipped one
    given = study_parser().parse_args(["--config", name])
    made = Study(**{field: given[field] for field in Study.__dataclass_fields__})
    assert plan(made, check_arguments)


def test_the_parts_of_a_study_are_told_beside_the_axes_and_change_no_cell() -> None:
    cells = cells_of(study(parts={"development": ["input"], "held out": ["output"]}))
    parts = {(cell.labels["drift"], cell.labels["part"]) for cell in cells}
    assert parts == {("input", "development"), ("output", "held out")}
    assert [cell.key for cell in cells] == [cell.key for cell in cells_of(study())]
