"""Options that nobody should give, alone and at random: one line and exit code 2, and nothing is written."""

import os
import re
import shlex
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from PIL import Image

from tbft.cli import main
from tbft.data import Digits
from tbft.errors import BadInput
from tbft.models import build, save_weights
from tbft.module import ImageClassifier
from tbft.training.checks import check_trainer, make_trainer

pytestmark = pytest.mark.timeout(120)
NAN, INF = float("nan"), float("inf")

MODEL = {
    "image_size": ([0, -1, -16, 7, 4097, 100_000, 10**30], "model.image_size is .*: it must be from 8 to 4096"),
    "width": ([0, -1, 4097, 10**30], "model.width is .*: it must be from 1 to 4096"),
    "num_classes": ([0, -1, 1, 10**9], "model.num_classes is .*: it must be from 2"),
    "mean": ([(), (NAN,), (INF,), (0.5, 0.5), (0.1,) * 4, (0.5, NAN, 0.5)], "model.mean is .*: give one finite number"),
    "std": ([(), (NAN,), (INF,), (0.0,), (-1.0,), (0.5, 0.5), (1, 1, 0)], "model.std is .*: give one finite number"),
    "noise_scale": ([NAN, INF, -1.0, 1e39], "model.noise_scale is .*: it must be from 0 to 1000"),
    "learning_rates": ([{"fc": r} for r in (0.0, -1.0, NAN, INF)], "model.learning_rates.fc is .* above 0"),
    "architecture": (["vgg16", "resnet", "resnet0x", "", "../resnet18"], "unknown architecture .*resnet18.*resnet26"),
    "base": (["", "no such", "no/such.pt"], "no base model|there is no network"),
}
ALMOST = {
    "image size of a step between": ({"image_size": 18}, "18 px is not a multiple of 4"),
    "image size of another network": ({"image_size": 64}, "takes images of 16 px and not of 64 px"),
    "image size that would fill the memory": ({"image_size": 4096}, "takes images of 16 px and not of 4096 px"),
    "classes of another network": ({"num_classes": 11}, "tells 10 classes apart"),
    "width of another network": ({"width": 4096}, "another architecture"),
    "depth between": ({"architecture": "resnet9"}, "depth 9 is not 6n"),
    "depth without end": ({"architecture": "resnet600002"}, "up to 1202"),
    "depth beyond numbers": ({"architecture": f"resnet{'9' * 5000}"}, "cannot build resnet999"),
    "another depth": ({"architecture": "resnet14"}, "another architecture"),
    "another kind": ({"architecture": "resnet18"}, "another architecture"),
    "billions of parameters": (
        {"base": None, "architecture": "resnet8", "num_classes": 10, "width": 4096, "image_size": 4096},
        "more than 1 billion parameters",
    ),
    "billions of outputs": (
        {"base": None, "architecture": "resnet8", "num_classes": 100_000, "image_size": 4096},
        "more than 1 billion parameters",
    ),
    "no network": ({"base": None}, "there is no network"),
}
MODELS = [({option: value}, words) for option, (values, words) in MODEL.items() for value in values]
MODELS += [*ALMOST.values()]

DATA = {
    "train_size": ([0, -1, 10**30], "data.train_size is|training size of"),
    "test_size": ([-1, 10**9], "data.test_size is -1|1000000000 must be left to test on"),
    "batch_size": ([0, -8], "data.batch_size is .*at least 1"),
    "validation": ([0.0, 1.0, -0.1, 1.5, NAN, INF], "data.validation is .*a share between 0 and 1"),
    "memory_limit": ([-1.0, NAN], "data.memory_limit is .*at least 0"),
    "workers": ([-1], "data.workers is -1"),
    "mean": ([(), (NAN,), (0.5, 0.5)], "mean is"),
    "std": ([(), (NAN,), (0.0,), (-1.0,)], "std is"),
    "label_map": (["mirror", "", [1, 2], [0] * 11, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10], [-1, *range(9)]], "label_map"),
    "corruption": (["mud", ""], "gaussian_noise"),
    "base_classes": ([("cat",), tuple("012345678"), tuple("01234567899")], "classes"),
}
DATAS = [({option: value}, words) for option, (values, words) in DATA.items() for value in values]
DATAS += [({"corruption": "gaussian_noise", "severity": s}, "choose one of 1, 2, 3, 4, 5") for s in (0, 6, -1)]

TRAINER = {
    "max_epochs": [-5, -2],
    "max_steps": [-7, -2],
    "min_epochs": [-1],
    "min_steps": [-1],
    "accumulate_grad_batches": [0, -1],
    "limit_train_batches": [-1, 1.5, NAN],
    "limit_val_batches": [-1, 1.5],
    "check_val_every_n_epoch": [0, -3],
    "val_check_interval": [0, -1, 0.0, -0.5, NAN, INF, 1.5],
    "gradient_clip_val": [-1.0, NAN],
    "gradient_clip_algorithm": ["sharp"],
    "log_every_n_steps": [-1],
    "num_sanity_val_steps": [-2],
    "devices": [0, -5, "many"],
    "num_nodes": [0, -1],
    "accelerator": ["steam"],
    "strategy": ["luck"],
    "precision": ["double trouble"],
    "profiler": ["crystal ball"],
    "max_time": ["a while"],
    "reload_dataloaders_every_n_epochs": [-1],
}
TRAINERS = [{option: value} for option, values in TRAINER.items() for value in values]


def refused(words, action):
    with pytest.raises(BadInput) as error:
        action()
    message = " ".join(str(error.value).split())
    assert re.search(words, message), message


@pytest.mark.parametrize("options, words", MODELS, ids=lambda value: ascii(value)[:60])
def test_models_that_cannot_be(options, words):
    refused(words, lambda: ImageClassifier(**({"base": "digits"} | options)))


@pytest.mark.parametrize("options, words", DATAS, ids=lambda value: ascii(value)[:60])
def test_data_that_cannot_be(options, words):
    refused(words, lambda: Digits(**({"image_size": 8} | options)).setup())


def test_digits_larger_than_the_memory_are_read_when_needed():
    data = Digits(image_size=2048)
    data.setup()
    assert data.test.subset([0, 1])[0].x.shape == (1, 3, 2048, 2048)


@pytest.mark.parametrize("options", TRAINERS, ids=str)
def test_trainers_that_cannot_be(options):
    def make():
        check_trainer(options)
        make_trainer(Trainer, {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, **options})

    (name,) = options
    refused(f"trainer.{name} is|the trainer does not take its options", make)


@pytest.mark.parametrize("seed", [0, 1])
def test_looking_at_a_network_before_it_is_built_draws_no_number(seed):
    weights = []
    for look in (True, False):
        torch.manual_seed(seed)
        if look:
            module = ImageClassifier(None, "resnet8", 10, 16)
            weights.append(module.model.head.weight)
        else:
            weights.append(build("resnet8", num_classes=10, image_size=16).head.weight)
    assert torch.equal(*weights)


COMMANDS = {
    "--data.train_size 0.5": "data.train_size has no value '0.5': give a whole number, or null",
    "--data.validation half": "data.validation has no value 'half': give a number$",
    "--data.severity 3": "data.severity is 3 and nothing is corrupted",
    "--data.split paper --data.test_size 20": "leave data.validation and data.test_size out",
    "--model.noise_scale 3": "model.noise_scale is 3 and no block is noised",
    "--head.images 20 --head.solve false": "head.images is 20 and has no effect beside head.solve false",
    "--model.optimizer.init_args.lr -1": "model.optimizer cannot be made .*-1",
    "--model.optimizer torch.optim.AdamW --model.optimizer.init_args.lr 0": "init_args.lr is 0.0: .* above 0",
    "--model.optimizer torch.optim.AdamW --model.optimizer.init_args.lr .nan": "learning rate: nan",
    "--model.optimizer torch.optim.AdamW --model.optimizer.init_args.lr .inf": "init_args.lr is inf",
    "--model.optimizer torch.optim.AdamW --model.optimizer.init_args.weight_decay .inf": "weight_decay is inf",
    "--model.optimizer torch.optim.SGD --model.optimizer.init_args.momentum -1": "momentum",
    "--model.optimizer Nonsense": "model.optimizer",
    "--model.learning_rates.fc -1": "model.learning_rates.fc is -1.0: .* above 0",
    "--model.std [.nan]": "model.std is .nan.",
    "--model.image_size 0": "model.image_size is 0",
    "--model.image_size 100000": "model.image_size is 100000",
    "--model.image_size big": "model.image_size",
    "--model.noise_block fc --model.noise_scale .nan": "model.noise_scale is nan",
    "--trainer.max_epochs -5": "trainer.max_epochs is -5: it must be at least -1",
    "--trainer.max_epochs 1.5": "trainer.max_epochs",
    "--trainer.max_steps -7": "trainer.max_steps is -7: it must be at least -1",
    "--trainer.val_check_interval 1000": "is 1000 and an epoch has 5 batches",
    "--trainer.accumulate_grad_batches 0": "trainer.accumulate_grad_batches is 0",
    "--data.image_size 20": "data.image_size is no option, for it follows --model.image_size",
    "--data.mean [.nan]": "data.mean is no option, for it follows --model.mean",
    "--data.batch_size -1": "data.batch_size is -1",
    "--data.train_size 99999999999999999999999": "training size of 9999",
    "--data.domain mars": "domain.*mars",
    "--energy.budget_joules .nan": "energy.budget_joules is nan",
    "--run.threads -3": "run.threads is -3",
    "--seed_everything 1.5": "seed_everything.*1.5",
    "--config bomb.yaml": "bomb.yaml stands for more than 100000 values in line 6",
    "--config twice.yaml": "twice.yaml gives model a second time in line 2",
    "--config bytes.yaml": "bytes.yaml is not text in UTF-8",
    "--config list.yaml": "list.yaml gives no option",
    "--config empty.yaml": "empty.yaml gives no option",
    "--config tag.yaml": "tag.yaml",
    "--config number.yaml": "number.yaml has a number of thousands of digits in line 1",
    "--config pipe": "no configuration 'pipe'",
    "--model.base pipe": "no base model 'pipe'",
    "--model.base /dev/zero": "no base model '/dev/zero'",
    "--model.base nothing.pt": "nothing.pt cannot be read as a checkpoint: it is empty",
    "--model.base nan.pt": "nan.pt: fc.bias holds numbers that are not finite",
    "--ckpt_path pipe": "no checkpoint pipe",
    "--ckpt_path nothing.pt": "nothing.pt cannot be read as a checkpoint",
    "--data Folder --data.root alike": "'Cat' and 'cat'",
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A folder full of what a user should not give."""
    folder = tmp_path_factory.mktemp("hostile")
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{n}: &{n} [{', '.join(['*' + o] * 9)}]" for o, n in zip("abcdefgh", "bcdefghi", strict=True)]
    texts = {
        "bomb.yaml": "\n".join(lines),
        "twice.yaml": "model: {base: digits}\nmodel: {width: 16}\n",
        "bytes.yaml": "\x00\x01",
        "list.yaml": "[1, 2]",
        "empty.yaml": "",
        "tag.yaml": "model: !!python/object/apply:os.mkdir [it_ran]",
        "number.yaml": f"seed_everything: {'9' * 5000}",
        "nothing.pt": "",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "bytes.yaml").write_bytes(bytes(range(256)))
    os.mkfifo(folder / "pipe")
    weights = build("resnet8", num_classes=10, image_size=16).state_dict()
    weights["fc.bias"][3] = NAN
    torch.save(weights, folder / "nan.pt")
    for name in ("cat", "Cat"):
        (folder / "alike" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (8, 8), (i, ord(name[0]), 0)).save(folder / "alike" / name / f"{i}.png")
    return folder


QUICK = ["--config", "output.yaml", "--run.wandb", "off", "--run.name", "run", "--run.test", "false"]
QUICK += ["--energy.plot", "false", "--energy.codecarbon", "false", "--trainer.enable_progress_bar", "false"]
QUICK += ["--model.number_format", "plain"]


@pytest.mark.parametrize("options", COMMANDS)
def test_commands_that_cannot_be(hostile, monkeypatch, capsys, options):
    monkeypatch.chdir(hostile)
    before = sorted(hostile.rglob("*"))
    by_steps = ["--head.solve", "false"] if options.startswith("--model.") else []
    assert main(["fit", *QUICK, *by_steps, *shlex.split(options)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(COMMANDS[options], line), line
    assert "weights_only" not in line and "Traceback" not in line
    assert sorted(hostile.rglob("*")) == before


EMPTY = {
    "predict": ["--config", "output.yaml", "--images", ""],
    "diagnose": ["--config", "auto.yaml", "--model.base", "digits", "--images", ""],
    "report": [""],
    "fit": [*QUICK, "--data", "Folder", "--data.root", ""],
    "card": ["--model.base", "digits", "--data", "Folder", "--data.root", "", "--to", "base.safetensors"],
}


@pytest.mark.parametrize("command", EMPTY)
def test_an_empty_path_is_not_the_working_folder(run, capsys, command):
    Image.new("RGB", (8, 8)).save("own.png")
    assert main([command, *EMPTY[command]]) == 2
    assert "a path is empty" in capsys.readouterr().err and [path.name for path in Path().iterdir()] == ["own.png"]


def test_without_data_the_way_to_give_some_is_said(run, capsys):
    for command in ("fit", "validate", "diagnose"):
        assert run(command, "--model.base", "digits")[0] == 2
        assert "give --config auto.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("level", ["input.yaml", "auto.yaml"])
def test_batches_of_one_image_need_more_than_one_number_a_channel(run, capsys, level):
    """Where a network of stride 16 has 16 px, its last BatchNorm of a single image has no variance."""
    network = build("timm:mobilenetv3_small_050", num_classes=10, image_size=16)
    save_weights(network, Path("base.safetensors"), tuple("0123456789"))
    options = ["--model.base", "base.safetensors", "--data.train_size", "40"]
    assert run("fit", "--config", level, *options, "--data.batch_size", "1")[0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "data.batch_size is 1 and a BatchNorm" in line and not Path("runs").exists()
    wide = ["--config", "feature.yaml", "--data.train_size", "20", "--trainer.max_epochs", "1"]
    assert run("fit", *wide, "--data.batch_size", "1")[0] == 0


def test_a_model_that_diverged_is_not_saved(run, capsys):
    rate = ["--model.optimizer.init_args.lr", "1e38", "--model.schedule", "constant"]
    rate += ["--trainer.max_epochs", "2", "--data.train_size", "60", "--data.batch_size", "16"]
    code, record = run("fit", "--config", "base/digits.yaml", *rate)
    assert code == 1 and record["status"] == "failed"
    assert "weights are not finite" in capsys.readouterr().err
    assert not Path("runs/run/model.safetensors").exists()


def test_weights_that_are_not_finite_leave_the_older_file_as_it_was(tmp_path):
    chain, file = build("resnet8", num_classes=4, image_size=8, width=4), tmp_path / "model.safetensors"
    save_weights(chain, file, tuple("abcd"))
    before = file.read_bytes()
    chain.head.bias.data[0] = NAN
    with pytest.raises(FloatingPointError, match=r"first in fc\.bias"):
        save_weights(chain, file, tuple("abcd"))
    assert file.read_bytes() == before and [*tmp_path.iterdir()] == [file]


# At random ------------------------------------------------------------------------------------------------------------

COUNTS = [-1, 0, 1, 2, 3, 7, 10**9]
REALS = [".nan", ".inf", "-.inf", -1, 0, 1e-40, 1e-3, 0.5, 1, 1e30]
BOOLEANS = ["true", "false", "null", "maybe"]
NAMES = ["", "x", "null", "../x", "a/b", "{}", "[]", "*", "0"]
CHOICES: dict[str, list] = {
    "seed_everything": [*COUNTS, 2**32, 0.5, "true", "x"],
    "model.base": ["digits", "digits_superclasses", "null", *NAMES],
    "model.architecture": ["resnet8", "resnet14", "resnet18", *NAMES],
    "model.num_classes": [10, 5, *COUNTS],
    "model.image_size": [16, 8, 32, 20, *COUNTS],
    "model.width": [16, 8, *COUNTS],
    "model.mean": ["[0.5]", "[0.1, 0.2, 0.3]", "[1, 2]", "[]", "[.nan]", "0.5"],
    "model.std": ["[0.5]", "[0.1, 0.2, 0.3]", "[1, 2]", "[]", "[.inf]", "[0]", "[-1]"],
    "model.optimizer": [*(f"torch.optim.{n}" for n in ("SGD", "AdamW", "Adagrad", "Rprop", "Optimizer")), *NAMES],
    "model.optimizer.init_args.lr": REALS,
    "model.optimizer.init_args.weight_decay": REALS,
    "model.learning_rates": ["{fc: 0.1}", "{block1: 1e-3, fc: 0}", "{all: 1}", "{block9: 1}", "{fc: .nan}", "3"],
    "model.schedule": ["constant", "cosine", "one_cycle", "x"],
    "model.number_format": ["plain", "channels_last", "bf16", "x"],
    "model.noise_block": ["block1", "fc", "all", "block9"],
    "model.noise_scale": REALS,
    "data.domain": ["source", "target", "x"],
    "data.task": ["digits", "superclasses", "x"],
    "data.train_size": [20, 40, 60, 300, *COUNTS],
    "data.split": ["device", "paper", "x"],
    "data.validation": [0.1, 0.3, *REALS],
    "data.test_size": [20, *COUNTS],
    "data.corruption": ["gaussian_noise", "contrast", *NAMES],
    "data.severity": COUNTS,
    "data.label_map": ["flip", "null", "[1,0,2,3,4,5,6,7,8,9]", "[1,0]", "[]", "x", "[.nan]"],
    "data.batch_size": [16, *COUNTS],
    "data.mean": ["[0.1]", "[]"],
    "data.augment": ["none", "crop", "crop_and_flip", "x"],
    "data.memory_limit": [*REALS, 2048],
    "data.on_device": BOOLEANS,
    "data.skip_broken": BOOLEANS,
    "freeze.level": ["input", "feature", "output", "null", "x"],
    "freeze.blocks": ["[]", "[fc]", "[block1, block3]", "[all]", "[block9]", "fc", "[1]"],
    "freeze.statistics": ["source", "refresh", "batch", "x"],
    "freeze.statistics_images": [*COUNTS, 50],
    "head.solve": BOOLEANS,
    "head.images": [*COUNTS, 50],
    "cache.batch_size": COUNTS,
    "cache.memory_limit": REALS,
    "cache.disk_limit": REALS,
    "energy.budget_joules": REALS,
    "energy.budget_seconds": REALS,
    "energy.sources": ["auto", "model", "[]", "[model]", "x"],
    "energy.idle_seconds": [".nan", "-1", "0", "x"],
    "run.overwrite": BOOLEANS,
    "run.group": NAMES,
    "run.tags": ["[]", "[a, b]", "a", "[1]"],
    "run.threads": [-1, 0, 1, "x"],
    "trainer.max_steps": [-7, *COUNTS],
    "trainer.min_epochs": [-1, 0, 1],
    "trainer.accumulate_grad_batches": [-1, 0, 1, 2, 10**9],
    "trainer.limit_train_batches": [-1, 0, 1, 2, 0.5, 1.0, 1.5, ".nan", "x"],
    "trainer.limit_val_batches": [-1, 0, 1, 2, 0.5, 1.5],
    "trainer.val_check_interval": [-1, 0, 1, 2, 0.5, 1.5, 10**9],
    "trainer.check_val_every_n_epoch": [-1, 0, 1, 2, "null"],
    "trainer.gradient_clip_val": REALS,
    "trainer.gradient_clip_algorithm": ["norm", "value", "x"],
    "trainer.num_sanity_val_steps": [-2, -1, 0, 1, 2],
    "trainer.log_every_n_steps": COUNTS,
    "trainer.overfit_batches": [-1, 0, 1, 0.5, 1.5],
    "trainer.fast_dev_run": ["true", "false", 1, -1],
    "trainer.deterministic": BOOLEANS,
    "trainer.detect_anomaly": BOOLEANS,
    "trainer.inference_mode": BOOLEANS,
    "trainer.enable_model_summary": BOOLEANS,
    "trainer.logger": BOOLEANS,
    "trainer.no_such_option": [1],
    "no_such_section.option": [1],
}
options = st.dictionaries(st.sampled_from(sorted(CHOICES)), st.integers(0, 10**6), max_size=3)


@settings(
    max_examples=int(os.environ.get("TBFT_CONFIGURATIONS", "25")),
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # an example takes up to a second: a failure is reported as it was found
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    level=st.sampled_from(["input.yaml", "feature.yaml", "output.yaml", "base/digits.yaml"]),
    epochs=st.sampled_from([0, 1]),
    drawn=options,
)
@pytest.mark.timeout(0)
def test_any_configuration_runs_or_is_refused(tmp_path, monkeypatch, capsys, level, epochs, drawn):
    given = {name: CHOICES[name][number % len(CHOICES[name])] for name, number in drawn.items()}
    line = [f"--{name}={value}" for name, value in given.items()]
    folder = tmp_path / str(len([*tmp_path.iterdir()]))
    folder.mkdir()
    monkeypatch.chdir(folder)
    data = ["--data.train_size", "60", "--data.batch_size", "16", "--trainer.max_epochs", str(epochs)]
    code = main(["fit", *QUICK[:1], level, *QUICK[2:], *data, *line])
    said = capsys.readouterr().err
    assert code in (0, 2) or "training diverged" in said, (code, level, epochs, line, said)
    assert "Traceback" not in said
    if code == 2:
        assert len(said.strip().splitlines()) == 1, (line, said)
        assert not any(folder.iterdir()), (line, said, sorted(folder.rglob("*")))
