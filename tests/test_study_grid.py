"""A grid becomes cells with stable keys, and says what is wrong before anything runs."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from study_stand_in import check

from tbft import presets
from tbft.errors import BadInput
from tbft.study.running.cell_tags import tags_of
from tbft.study.running.grid import Study, cells_of
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid": {}}, "the grid of study 'quick' is empty"),
        ({"grid": {"seed": []}}, r"grid\.seed is empty"),
        ({"grid": {"seed": 3}}, "give a list of values"),
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
    from tbft.study.running.fit_parser import check_arguments

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
    from tbft.study.running.command import study_parser
    from tbft.study.running.fit_parser import check_arguments

    monkeypatch.chdir(working_folder / "strategy")  # where no file stands before a shipped one
    given = study_parser().parse_args(["--config", name])
    made = Study(**{field: given[field] for field in Study.__dataclass_fields__})
    assert plan(made, check_arguments)
