"""A misspelt command, option or value is answered at once, with the one that was meant."""

import subprocess
import sys
from pathlib import Path

import pytest

from tbft.command_line.suggestions import check_names
from tbft.errors import BadInput
from tbft.options import catalogue
from tbft.study.running.fit_parser import options_of_fit

MISSPELT = {
    "fti": "did you mean fit?",
    "fit --data.trian_size 5": "did you mean --data.train_size?",
    "fit --data.init_args.trian_size=5": "did you mean --data.train_size?",
    "fit --train_size 5": "did you mean --data.train_size?",
    "fit --modle.base x": "did you mean --model.base?",
    "fit --trainer.max_epoch 3": "did you mean --trainer.max_epochs?",
    "fit --config featur.yaml": "did you mean feature.yaml?",
    "fit -c inptu": "did you mean input.yaml?",
    "fit --config input.yaml --data.corruption gausian_noise": "did you mean gaussian_noise?",
    "fit --data Fodler": "did you mean Folder?",
    "fit --freeze.statistics refersh": "did you mean refresh?",
    "fit --freeze.level sensor": "choose input, feature, output",
    "fit --config feature.yaml --data.root x": "data set Digits has no option --data.root",
    "fit --data.seed 3": "it follows --seed_everything",
    "test --ckpt_pth x": "did you mean --ckpt_path?",
    "study --config study/quik.yaml": "did you mean study/quick.yaml?",
    "fit --help modle": "did you mean model?",
}

ACCEPTED = [
    "--config input.yaml --model.optimizer.lr 0.1 --data.init_args.severity=3",
    "--model.optimizer.init_args.lr 0.1",
    "--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor val/loss",
    "--data my_package.MyData --data.whatever 3",
    "--data.corruption null --freeze.level null",
    "--data.help Folder",
    "--print_config=skip_null",
]

WITHOUT_HEAVY_IMPORTS = """
import sys
from tbft.cli import main
codes = [main(line.split()) for line in sys.argv[1:]]
assert not {"torch", "lightning", "jsonargparse", "numpy"} & set(sys.modules), "a heavy import"
sys.exit(codes != [2] * (len(codes) - 2) + [0, 0])
"""


@pytest.mark.parametrize("line", MISSPELT)
def test_a_misspelling_is_told_with_what_was_meant(run, capsys, line):
    assert run(*line.split())[0] == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert MISSPELT[line] in said and len(said) < 200
    assert not any(Path.cwd().iterdir())


def test_misspellings_and_help_import_nothing_heavy(tmp_path):
    lines = [line for line in MISSPELT if not line.startswith("study")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HEAVY_IMPORTS, *lines, "--help", "fit --help"],
        check=False, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", ACCEPTED)
def test_what_only_the_parser_knows_is_left_to_it(line):
    check_names("fit", line.split())


@pytest.mark.parametrize("data_set", catalogue.data_sets())
def test_the_options_read_from_the_source_are_those_of_the_parser(data_set):
    needed = ["--data.root", "x"] if any(o.name == "data.root" for o in catalogue.data_options(data_set)) else []
    parsed = options_of_fit(["--config", "output.yaml", "--data", f"tbft.data.{data_set}", *needed])
    plain = [name.replace(".init_args.", ".") for name in parsed]
    known = {".".join(name.split(".")[:2]) for name in plain} - {"data.class_path", "config"}
    others = {option.name for other in catalogue.data_sets() for option in catalogue.data_options(other)}
    others -= {option.name for option in catalogue.data_options(data_set)}
    read = {name for name in catalogue.names_of("fit") if name not in others}
    assert read - {"help", "config", "print_config"} == known - {*catalogue.SECTIONS, *catalogue.FOLLOWS}


@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
def test_every_command_knows_its_own_options(subcommand):
    from tbft.command_line.configured_cli import ArgumentsOnly

    class Parser(ArgumentsOnly):
        subcommand_parser = None

        def parse_arguments(self, parser, args):
            super().parse_arguments(parser, args)
            type(self).subcommand_parser = self._parser(subcommand)

    Parser([subcommand, "--config", "output.yaml"])
    own = {action.dest for action in Parser.subcommand_parser._actions if "." not in action.dest}
    read = {name for name in catalogue.names_of(subcommand) if "." not in name}
    assert read == own - set(catalogue.SECTIONS) - {"data.help"}
    assert all(catalogue.is_option(subcommand, name) for name in catalogue.names_of(subcommand))
    assert not catalogue.is_option(subcommand, "data.brightness") and not catalogue.is_option(subcommand, "to")


def test_the_corruptions_read_from_the_source_are_all_there_are():
    from tbft.data.corruptions import CORRUPTIONS

    assert catalogue.constant("CORRUPTIONS") == CORRUPTIONS


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        ("model: {bas: digits}", "model.base"),
        ("modle: {base: digits}", "model.base"),
        ("data: {init_args: {trian_size: 4}}", "data.train_size"),
    ],
)
def test_a_misspelling_in_a_file_is_told_too(run, capsys, content, meant):
    Path("mine.yaml").write_text(content)
    assert run("fit", "--config", "output.yaml", "--config", "mine.yaml")[0] == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


def test_a_data_set_named_in_a_file_decides_which_options_there_are(tmp_path):
    own, foreign = tmp_path / "own.yaml", tmp_path / "foreign.yaml"
    own.write_text("data: {class_path: tbft.data.Folder, init_args: {root: x}}")
    foreign.write_text("data: {class_path: my_package.MyData}")
    check_names("fit", ["--config", "feature.yaml", "--config", str(own), "--data.class_names", "[a]"])
    check_names("fit", ["--config", str(foreign), "--data.whatever", "3"])
    with pytest.raises(BadInput, match=r"data set Folder has no option --data\.task"):
        check_names("fit", ["--config", str(own), "--data.task", "digits"])
