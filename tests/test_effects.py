"""An option that has no effect beside another one is refused where somebody chose it, and is no matter in a preset."""

import itertools
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

import tbft
from tbft.command_line.suggestions import check_names
from tbft.errors import BadInput
from tbft.options import presets
from tbft.options.effects import check_all_have_effect, keeps_epochs, layer_of_file
from tbft.options.recipe import recipe_of
from tbft.study.running.fit_parser import check_arguments

PAIRS = {
    "--config output.yaml --freeze.statistics_images 100": "statistics_images is 100 .* freeze.statistics source",
    "--config input.yaml --freeze.statistics source --freeze.statistics_images 100": "beside freeze.statistics source",
    "--config input.yaml --freeze.statistics source --freeze.align with_card": "with_card .* freeze.statistics source",
    "--config input.yaml --freeze.align with_card --freeze.blocks [block2]": "align is with_card .* freeze.blocks",
    "--config input.yaml --freeze.align with_card --freeze.statistics_images null": "freeze.statistics_images null",
    "--config input.yaml --freeze.align with_card --data.domain source": "with_card .* data.domain source",
    "--config output.yaml --freeze.blocks [block1] --freeze.align with_card": "with_card .* freeze.statistics source",
    "--config feature.yaml --freeze.align with_card": "freeze.align is with_card .* freeze.level feature",
    "--config feature.yaml --cache.enabled false --cache.half true": "cache.half is true .* cache.enabled false",
    "--config feature.yaml --cache '{enabled: false, batch_size: 9}'": "cache.batch_size is 9",
    "--config feature.yaml --head.images 50": "head.images is 50 .* head.solve false",
    "--config output.yaml --head.images 50 --freeze.blocks [block1]": "head.images is 50 .* freeze.blocks .block1.",
    "--config feature.yaml --head.solve true": "head.solve is true .* freeze.level feature",
    "--config output.yaml --head.solve true --freeze.blocks [block1]": "head.solve is true .* freeze.blocks .block1.",
    "--config output.yaml --head.solve true --model.schedule cosine": "model.schedule is cosine .* head.solve true",
    "--config output.yaml --model.learning_rates.fc 0.1": "model.learning_rates is .fc: 0.1.* head.solve true",
    "--config output.yaml --head.solve true --model.optimizer.init_args.lr 0.1": "model.optimizer is .lr: 0.1",
    "--config input.yaml --freeze.blocks [block1] --model.learning_rates.fc 0.1": "model.learning_rates is .fc: 0.1",
    "--config input.yaml --model.noise_block fc": "model.noise_block is fc .* model.noise_scale 0",
    "--config base/digits.yaml --data.corruption contrast": "data.corruption is contrast .* data.domain source",
    "--config base/digits.yaml --data.init_args.label_map=flip": "data.label_map is flip",
    "--config data/cifar10.yaml --data.root x --data.url y": "data.url is y .* data.download false",
}
"""What is given, and what is said of it."""

HEARD = [
    "--config input.yaml --freeze.statistics source",
    "--config input.yaml --config strategy/none.yaml",
    "--config output.yaml --config strategy/none.yaml --freeze.statistics_images 100",
    "--config input.yaml --data.domain source",
    "--config input.yaml --freeze.align with_card",
    "--config feature.yaml --freeze.blocks [block1] --freeze.align with_card",
    "--config input.yaml --freeze.blocks [all] --freeze.align with_card",
    "--config input.yaml --freeze.align never --freeze.blocks [block2]",
    "--config output.yaml --freeze.blocks [block2]",
    "--config output.yaml --head.solve false --model.schedule cosine",
    "--config input.yaml --freeze.blocks [fc] --head.solve true --head.images 50",
    "--config strategy/refresh+head.yaml --config feature.yaml --head.solve false",
    "--config feature.yaml --config pi.yaml --cache.enabled false",
    "--config feature.yaml --cache.enabled false --cache.half false",
    "--config input.yaml --model.noise_block fc --model.noise_scale 0",
    "--config input.yaml --freeze.blocks [block1] --model.learning_rates null",
    "--config paper/cifar10c.yaml --data.root x --freeze.blocks [block2]",
]
"""A preset's default lies beneath, the value is the default, or the option has its effect."""


@pytest.mark.parametrize("line", PAIRS)
def test_what_has_no_effect_is_refused_with_what_takes_it_away(line):
    with pytest.raises(BadInput, match=PAIRS[line]) as said:
        check_names("fit", shlex.split(line))
    assert len(str(said.value)) < 250 and "\n" not in str(said.value)


@pytest.mark.parametrize("line", HEARD)
def test_a_default_beneath_is_no_matter(line):
    check_names("fit", shlex.split(line))


def test_no_two_presets_refuse_each_other():
    layers = [layer_of_file(presets.find(name)) for name in presets.names() if not name.startswith("study/")]
    for pair in itertools.permutations(layers, 2):
        check_all_have_effect(pair)


def test_a_file_of_the_users_own_is_a_choice_and_a_runs_record_is_none(run, capsys):
    Path("mine.yaml").write_text("freeze: {statistics: source, statistics_images: 100}")
    assert run("fit", "--config", "input.yaml", "--config", "mine.yaml")[0] == 2
    assert "freeze.statistics_images is 100 and has no effect" in capsys.readouterr().err
    Path("mine.yaml").write_text("freeze: {statistics_images: 100}")
    check_names("fit", shlex.split("--config input.yaml --config mine.yaml --freeze.statistics source"))
    assert run("fit", *shlex.split("--config input.yaml --config strategy/none.yaml --print_config"))[0] == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["freeze"]["statistics_images"] == 256
    Path("printed.yaml").write_text(printed)
    check_names("fit", ["--config", "printed.yaml"])


def test_a_ladder_says_itself_that_it_chooses(run, capsys):
    assert run("fit", "--config", "auto.yaml", "--freeze.statistics_images", "100")[0] == 2
    assert "freeze.statistics_images is 100 and ladder.climb chooses what is adapted" in capsys.readouterr().err


def test_a_cell_of_a_study_is_refused_before_the_study_begins():
    line = "--config feature.yaml --cache.enabled false --cache.half true"
    with pytest.raises(BadInput, match=r"cache\.half is true and has no effect"):
        check_arguments(shlex.split(line))


REFUSED = {
    "freeze": ({"freeze.statistics": "source", "freeze.statistics_images": 100}, "freeze.statistics_images is 100"),
    "cache": ({"cache": {"enabled": False, "half": True}}, "cache.half is true"),
    "head": ({"head.solve": True}, "head.solve is true .* freeze.level input"),
    "optimizer": (
        {"head.solve": True, "freeze.blocks": ["fc"], "model.optimizer": lambda parameters: None},
        "model.optimizer is function .* head.solve true",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_python_refuses_as_the_shell_does(case):
    options, words = REFUSED[case]
    images = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(BadInput, match=words):
        tbft.personalize("digits", images, [0, 1, 2, 3], level="input", **options)


def test_a_level_from_python_is_a_default_beneath():
    assert recipe_of("input", (), {"freeze.statistics": "source"})["freeze"]["statistics_images"] == 256


@pytest.mark.parametrize("name", ["budget_joules", "budget_seconds"])
def test_a_budget_is_heard_under_either_name_and_not_under_both(name):
    images = np.random.default_rng(0).integers(0, 255, (20, 16, 16, 3), np.uint8)
    labels = [*range(10)] * 2
    with pytest.raises(BadInput, match=f"energy.{name} is -1"):
        tbft.personalize("digits", images, labels, level="input", **{f"energy.{name}": -1})
    with pytest.raises(BadInput, match=f"energy.{name} and {name} are the same option"):
        tbft.personalize("digits", images, labels, level="input", **{f"energy.{name}": 5, name: 6})


def test_a_length_is_chosen_unless_a_later_preset_says_another(tmp_path):
    mine, preset = tmp_path / "mine.yaml", layer_of_file(presets.find("input.yaml"))
    mine.write_text("trainer: {max_epochs: 5}")
    assert keeps_epochs([preset, layer_of_file(mine)])
    assert not keeps_epochs([layer_of_file(mine), preset])
    assert not keeps_epochs([preset])
