"""``--help``: the options that matter first, in 80 columns."""

import pytest

from tbft.command_line import help as texts
from tbft.options import catalogue, presets


def said(run, capsys, *args):
    assert run(*args)[0] == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "args", [("--help",), *(("test", "--help", section) for section in catalogue.SECTIONS), ("test", "--help")]
)
def test_help_fits_into_80_columns(run, capsys, args):
    assert max(map(len, said(run, capsys, *args).splitlines())) <= 80


def test_fits_help_is_short_and_says_where_the_rest_is(run, capsys):
    out = said(run, capsys, "validate", "--help")
    assert len(out.splitlines()) < 50
    for name in (*texts.FIRST, "help SECTION", "help all", "data.help Folder"):
        assert f"--{name} " in out
    assert "feature.yaml" in out


@pytest.mark.parametrize("command", texts.OWN)
def test_a_commands_own_options_come_first(run, capsys, command):
    out = said(run, capsys, command, "--help")
    assert all(f"--{name} " in out for name in texts.OWN[command]) and max(map(len, out.splitlines())) <= 80
    assert set(texts.OWN[command]) <= set(catalogue.names_of(command))


def test_the_options_that_matter_first_are_options():
    assert set(texts.FIRST) - {"data"} <= set(catalogue.names_of("fit"))


def test_a_default_is_a_value_and_not_the_name_of_one():
    (url,) = [option for option in catalogue.data_options("CIFAR10") if option.name == "data.url"]
    assert url.default is not None and url.default.startswith("https://")


@pytest.mark.parametrize("section", catalogue.SECTIONS)
def test_a_sections_help_describes_each_option_and_its_default(run, capsys, section):
    out = " ".join(said(run, capsys, "validate", "--help", section).split())
    for option in catalogue.section_options(section):
        assert f"--{option.name} {option.text.split()[0]}" in out


def test_everything_is_behind_a_switch(run, capsys):
    for switch in (["--help", "all"], ["--help-all"]):
        assert "--trainer.gradient_clip_algorithm" in said(run, capsys, "validate", *switch)


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_begins_with_what_it_is_for(name):
    head = (presets.folder() / name).read_text().splitlines()[0]
    assert head.startswith("# ") and len(head) <= 120
    assert len(head[2:]) >= len(presets.summary(name, 46)) > 10 and "[...]" not in presets.summary(name, 46)
