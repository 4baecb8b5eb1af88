"""What a run learned is tested under the names that it learned, on whatever folder."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tbft.cli import main
from tbft.models import build, read_weights

COLOURS = {"ant": (220, 20, 20), "bee": (20, 220, 20), "cow": (20, 20, 220)}


def paint(root, names, count=8):
    """Pictures of one colour each, under other names of the classes, some in another order of the alphabet."""
    rng = np.random.default_rng(0)
    for name, colour in zip(names, [*COLOURS.values(), (0, 0, 0)], strict=False):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = (np.array(colour) + rng.integers(-20, 20, (8, 8, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")


@pytest.fixture(scope="module")
def personalized(tmp_path_factory):
    """A folder with a run whose base model does not name its classes, and other folders to test on."""
    home = tmp_path_factory.mktemp("home")
    torch.manual_seed(0)
    torch.save(build("resnet8", num_classes=3, image_size=8, width=8).state_dict(), home / "base.pt")
    paint(home / "mine", COLOURS)
    paint(home / "other", ["ant", "Bee", "COW"])  # sorted: Bee, COW, ant
    paint(home / "fewer", ["ant", "bee"])
    paint(home / "more", [*COLOURS, "dog"])
    paint(home / "named otherwise", ["x1", "x2", "x3"])
    paint(home / "alike", ["ant", "bee", "cow", "Cow"])
    options = ["--config", "output.yaml", "--data", "Folder", "--data.root", "mine", "--data.train_size", "12"]
    options += ["--model.base", "base.pt", "--model.image_size", "8", "--run.name", "run", "--run.wandb", "off"]
    options += ["--data.label_map", "null", "--energy.plot", "false", "--energy.codecarbon", "false"]
    options += ["--model.number_format", "plain", "--trainer.enable_progress_bar", "false", "--head.solve", "false"]
    options += ["--freeze.blocks", "[all]", "--trainer.max_epochs", "8", "--data.batch_size", "4"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["fit", *options]) == 0
    return home


@pytest.fixture
def command(personalized, monkeypatch, capsys):
    """Test, validate or predict with the run's configuration, on a folder; its exit code and what it said."""
    monkeypatch.chdir(personalized)

    def call(name, root, *more):
        before = sorted(Path().rglob("*"))
        code = main([name, "--config", "runs/run/config.yaml", "--data.root", root, *more])
        said = capsys.readouterr()
        if code:
            assert sorted(Path().rglob("*")) == before and len(said.err.strip().splitlines()) == 1
        return code, said

    return call


def right(predictions):
    rows = [*csv.DictReader(Path(predictions).read_text().splitlines())]
    return sum(row["truth"] == row["class"] for row in rows) / len(rows), {row["truth"] for row in rows}


@pytest.mark.parametrize("weights", ["model.safetensors", "last.ckpt"])
def test_labels_follow_the_names_that_the_run_learned(command, weights):
    assert read_weights(f"runs/run/{weights}").classes == tuple(COLOURS)
    accuracy = {}
    for root in ("mine", "other"):
        assert command("predict", root, "--ckpt_path", f"runs/run/{weights}")[0] == 0
        accuracy[root], labels = right("runs/run/predictions.csv")
        assert labels == set(COLOURS)
    assert accuracy["mine"] == accuracy["other"] > 0.6


@pytest.mark.parametrize("name", ["test", "validate", "predict"])
@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("fewer", "'cow' of the base model's classes is missing"),
        ("more", "does not know 'dog'"),
        ("named otherwise", "does not know 'x1', 'x2', 'x3'"),
        ("alike", "'Cow' and 'cow', which differ in case"),
    ],
)
def test_other_classes_are_refused(command, name, root, words):
    code, said = command(name, root)
    assert code == 2 and words in said.err


@pytest.mark.parametrize("root", ["fewer", "more"])
def test_weights_without_names_need_as_many_classes(command, root):
    code, said = command("test", root, "--ckpt_path", "base.pt")
    assert code == 2 and "tells 3 classes apart and the data has" in said.err


def test_weights_that_are_not_finite_are_not_tested(command):
    shutil.copy("runs/run/last.ckpt", "nan.ckpt")
    content = torch.load("nan.ckpt", weights_only=True)
    content["state_dict"]["model.fc.bias"][0] = torch.nan
    torch.save(content, "nan.ckpt")
    code, said = command("test", "mine", "--ckpt_path", "nan.ckpt")
    assert code == 2 and "fc.bias holds numbers that are not finite" in said.err


def test_weights_and_options_are_of_one_run(command, personalized):
    shutil.copytree(personalized / "runs" / "run", personalized / "runs" / "twin", dirs_exist_ok=True)
    code, said = command("test", "mine", "--config", "runs/twin/config.yaml")
    assert code == 2 and "runs/twin are two runs" in said.err
    code, said = command("test", "mine", "--model.base", "runs/twin/model.safetensors")
    assert code == 2 and "leave model.base out, or say which weights" in said.err
    weights = "runs/twin/model.safetensors"
    assert command("test", "mine", "--model.base", weights, "--ckpt_path", weights)[0] == 0


def test_images_that_a_run_may_have_been_trained_on_are_told(command, caplog):
    told = "it may have been trained on some of them"
    for command_name, more, says in (
        ("test", [], None),
        ("test", ["--data.validation", "0.2"], None),
        ("validate", ["--data.validation", "0.2"], "another data.validation"),
        ("test", ["--seed_everything", "3", "--data.train_size", "9"], "another data.train_size and seed_everything"),
    ):
        caplog.clear()
        assert command(command_name, "mine", *more)[0] == 0
        assert (told in caplog.text) == (says is not None) and (says or "") in caplog.text
    caplog.clear()
    assert command("test", "other", "--seed_everything", "3")[0] == 0 and told not in caplog.text


@pytest.mark.parametrize("measuring", [["diagnose"], ["card", "--to", "card.safetensors"]])
def test_what_is_measured_of_a_run_is_asked_for(personalized, monkeypatch, capsys, measuring):
    monkeypatch.chdir(personalized)
    assert main([*measuring, "--config", "runs/run/config.yaml"]) == 2
    assert "give --model.base runs/run/model.safetensors or the base model" in capsys.readouterr().err
