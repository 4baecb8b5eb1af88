"""One function is the product: any model and labelled pictures in, a better model out."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import tbft
from tbft.data import Digits

LEVELS = {
    "input": {"corruption": "contrast"},
    "feature": {"task": "superclasses"},
    "output": {"label_map": "flip"},
}
pytestmark = pytest.mark.numbers


def base_of(level):
    return "digits_superclasses" if level == "feature" else "digits"


@pytest.fixture(scope="module")
def drifted():
    """Labelled images of a level, in the data's order, and others to test on."""

    def images(level, size=200):
        data = Digits(image_size=16, train_size=size, **LEVELS[level])
        data.setup()
        x, y = torch.cat([data.train.x, data.val.x]), torch.cat([data.train.y, data.val.y])
        return x, y, data.test.x, data.test.y, data.classes

    return images


def right(predictions, labels):
    return np.mean([row.label == label for row, label in zip(predictions, labels.tolist(), strict=True)])


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_is_won_back_from_arrays(drifted, level):
    x, y, test_x, test_y, classes = drifted(level, 300)
    before = right(tbft.load(base_of(level)).predict(test_x), test_y)
    better = tbft.personalize(base_of(level), x.numpy(), y.numpy(), level=level)
    predictions = better.predict(test_x.numpy())
    assert right(predictions, test_y) > before + 0.3
    assert better.kept == "adapted" and better.accuracy > better.accuracy_before
    assert better.blocks == ({"input": "block1", "feature": "block3", "output": "fc"}[level],)
    assert better.classes == classes and predictions[0].name == classes[predictions[0].label]
    assert better.joules > 0 and better.cpu_seconds > 0 and better.record.train_size == 300
    assert f"{level} level" in repr(better) and "CPU-s" in repr(better)


@pytest.mark.parametrize("level", LEVELS)
def test_the_command_line_gives_the_same_weights_bit_for_bit(run, drifted, tmp_path, level):
    x, y, _, _, classes = drifted(level, 120)
    folder = tmp_path / "mine"
    for i, (image, label) in enumerate(zip(x, y.tolist(), strict=True)):
        file = folder / classes[label] / f"{i:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    options = ["--config", f"{level}.yaml", "--config", "data/folder.yaml", "--model.base", base_of(level)]
    options += ["--data.root", str(folder), "--data.test_size", "0", "--energy.codecarbon", "false"]
    assert run("fit", *options)[0] == 0
    better = tbft.personalize(base_of(level), folder, level=level, out=tmp_path / "out")
    better.save(tmp_path / "saved.safetensors")
    theirs = load_file("runs/run/model.safetensors")
    for file in (tmp_path / "out" / "model.safetensors", tmp_path / "saved.safetensors"):
        ours = load_file(file)
        assert theirs.keys() == ours.keys() and all(torch.equal(theirs[key], ours[key]) for key in theirs)


def test_without_a_level_both_doors_lead_to_the_same_weights(run, tmp_path):
    data = Digits(image_size=16, train_size=100, corruption="contrast", label_map="flip")
    data.setup()
    x, y = torch.cat([data.train.x, data.val.x]), torch.cat([data.train.y, data.val.y])
    for i, (image, label) in enumerate(zip(x, y.tolist(), strict=True)):
        file = tmp_path / "mine" / str(label) / f"{i:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    options = ["--config", "auto.yaml", "--config", "data/folder.yaml", "--model.base", "digits"]
    options += ["--data.root", str(tmp_path / "mine"), "--data.test_size", "0", "--energy.codecarbon", "false"]
    assert run("fit", *options)[0] == 0
    tbft.personalize("digits", tmp_path / "mine", out=tmp_path / "out")
    theirs, ours = load_file("runs/run/model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[key], ours[key]) for key in theirs)


class OwnNetwork(nn.Module):
    """A small convolutional network as anybody writes one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(8, 16, 3, 2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(16, 32, 3, 2, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.classify = nn.Linear(32, 10)

    def forward(self, x):
        x = self.late(self.middle(self.stem(x)))
        return self.classify(x.mean((2, 3)))


@pytest.fixture(scope="module")
def own_network():
    """The network, trained on the digits' source domain."""
    torch.manual_seed(0)
    data = Digits(image_size=16, domain="source")
    data.setup()
    network = OwnNetwork()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for epoch in range(6):
        for x, y, _ in data.train.loader(64, shuffle=True, seed=epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    return network.eval()


def state(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(("level", "gain"), [("input", 0.05), ("output", 0.2)])
def test_any_network_is_personalized_and_the_callers_stays_as_it_was(own_network, drifted, level, gain):
    x, y, test_x, test_y, _ = drifted(level, 300)
    own_network = copy.deepcopy(own_network)
    before, drawn = state(own_network), torch.random.get_rng_state()
    own_network.stem[0].weight.requires_grad_(False)
    options = {"mean": [0.5], "std": [0.5], "image_size": 16}
    unchanged = right(tbft.load(own_network, **options).predict(test_x), test_y)
    better = tbft.personalize(own_network, x, y, level=level, **options)
    assert same(state(own_network), before) and torch.equal(torch.random.get_rng_state(), drawn)
    assert isinstance(better.model, OwnNetwork) and not better.model.training
    assert not better.model.stem[0].weight.requires_grad and better.model.classify.weight.requires_grad
    assert right(better.predict(test_x), test_y) > unchanged + gain
    normalised = (test_x.float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        assert (better.model(normalised).argmax(1) == test_y).float().mean() > unchanged + gain


def test_what_load_and_personalize_return_is_personalized_like_its_file(drifted, tmp_path):
    x, y, test_x, *_ = drifted("output", 100)
    base = tbft.load("digits")
    before = base.predict(test_x)
    better = tbft.personalize(base, x, y)
    assert state(better.model).keys() and same(state(better.model), state(tbft.personalize("digits", x, y).model))
    assert base.predict(test_x) == before and "10 classes" in repr(base)
    assert tbft.diagnose(base, x, y).table() == tbft.diagnose("digits", x, y).table()
    better.save(tmp_path / "better.safetensors")
    again, from_file = (tbft.personalize(m, x, y, level="input") for m in (better, tmp_path / "better.safetensors"))
    assert again.classes == from_file.classes and same(state(again.model), state(from_file.model))


def test_a_personalized_model_of_an_own_network_keeps_names_and_normalisation(drifted, own_network):
    x, y, test_x, *_, classes = drifted("output", 100)
    options = {"mean": [0.5], "std": [0.5], "image_size": 16, "classes": classes}
    better = tbft.personalize(own_network, x, y, level="output", **options)
    again = tbft.personalize(better, x, [classes[label] for label in y], level="output")
    assert again.classes == classes and again.predict(test_x)[0].name in classes
    for option in ({"inplace": True}, {"image_size": 32}, {"blocks": ["late"]}):
        with pytest.raises(tbft.BadInput, match=next(iter(option))):
            tbft.personalize(better, x, y, level="output", **option)


def test_in_place_the_callers_own_network_is_adapted(own_network, drifted):
    network = copy.deepcopy(own_network)
    x, y, *_ = drifted("output")
    better = tbft.personalize(network, (x.float() / 255 - 0.5) / 0.5, y, level="output", inplace=True)
    assert better.model is network and not same(state(network), state(own_network))
    changed = {key for key, value in state(network).items() if not torch.equal(value, own_network.state_dict()[key])}
    assert changed == {"classify.weight", "classify.bias"}


def test_saved_weights_of_an_own_network_go_back_into_one(own_network, drifted, tmp_path):
    x, y, test_x, *_ = drifted("output")
    better = tbft.personalize(own_network, x, y, level="output", mean=[0.5], std=[0.5], image_size=16)
    better.save(tmp_path / "better.safetensors")
    again = copy.deepcopy(own_network)
    again.load_state_dict(load_file(tmp_path / "better.safetensors"))
    assert tbft.load(again, mean=[0.5], std=[0.5], image_size=16).predict(test_x[:20])[3].label == (
        better.predict(test_x[:20])[3].label
    )


def test_pictures_paths_names_and_layouts_mean_the_same(drifted, tmp_path):
    x, y, _, _, classes = drifted("output", 100)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in x]
    paths = []
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / f"{i}.png")
        paths.append(tmp_path / f"{i}.png")
    names = [classes[label] for label in y.tolist()]
    expected = state(tbft.personalize("digits", x, y, level="output").model)
    for images, labels in ((x.permute(0, 2, 3, 1).numpy(), y.tolist()), (pictures, names), (paths, names)):
        assert same(state(tbft.personalize("digits", images, labels, level="output").model), expected)


def test_options_are_those_of_the_command_line(drifted):
    x, y, *_ = drifted("feature", 100)
    by_name = tbft.personalize(
        "digits_superclasses", x, y, level="feature", **{"trainer.max_epochs": 1, "freeze.blocks": ["block2"]}
    )
    by_section = tbft.personalize(
        "digits_superclasses", x, y, level="feature", trainer={"max_epochs": 1}, freeze={"blocks": ["block2"]}
    )
    assert by_name.record.epochs == 1 and by_name.record.blocks == ("block2",)
    assert same(state(by_name.model), state(by_section.model))
    full = tbft.personalize("digits_superclasses", x, y, level="feature", config="strategy/full.yaml")
    assert full.record.strategy == "full" and len(full.blocks) == 4


def test_a_budget_stops_training(drifted):
    x, y, *_ = drifted("feature", 100)
    stopped = tbft.personalize(
        "digits_superclasses", x, y, level="feature", budget_seconds=1e-6, trainer={"max_epochs": 500}
    )
    assert stopped.record.steps == 0 and stopped.record.as_dict["stopped_by"] == "budget_seconds"


def test_nothing_is_written_unless_a_folder_is_given(drifted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y, *_ = drifted("feature", 100)
    tbft.personalize("digits_superclasses", x, y, level="feature")
    assert not list(tmp_path.iterdir())
    tbft.personalize("digits_superclasses", x, y, level="feature", out="kept")
    written = {path.name for path in Path("kept").iterdir()}
    assert written >= {"model.safetensors", "result.json"} and "power.png" not in written
    tbft.personalize("digits_superclasses", x, y, level="feature", out="kept", **{"energy.plot": True})
    assert (Path("kept") / "power.png").is_file()


class Branching(OwnNetwork):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


class NoLogits(OwnNetwork):
    def forward(self, x):
        return self.late(self.middle(self.stem(x)))


def broken(network):
    network = copy.deepcopy(network)
    nn.init.constant_(network.classify.weight, float("nan"))
    return network


BAD = {
    "level": (lambda c: {"level": "featur"}, "did you mean feature"),
    "a level and no labels": (lambda c: {"level": "output", "labels": None}, "no labels"),
    "block": (lambda c: {"freeze": {"blocks": ["block9"]}}, "unknown block 'block9'"),
    "option": (lambda c: {"trainer.max_epoch": 3}, "did you mean trainer.max_epochs"),
    "section": (lambda c: {"trainr": {}}, "did you mean trainer"),
    "option of the command line": (lambda c: {"data.root": "x"}, "of the command line"),
    "labels too few": (lambda c: {"labels": c.y[:-1]}, "one label for each image"),
    "labels for some": (lambda c: {"labels": [*c.y.tolist()[:-1], None]}, "has no label"),
    "labels beyond the head": (lambda c: {"labels": c.y + 5}, "classes 0 to 9"),
    "labels of other names": (lambda c: {"labels": ["cat"] * 100}, "classes"),
    "labels in halves": (lambda c: {"labels": c.y + 0.5}, "neither a class index"),
    "shape": (lambda c: {"images": c.x[0]}, "(N, C, H, W)"),
    "channels": (lambda c: {"images": torch.zeros(100, 7, 16, 16)}, "7 channels"),
    "type": (lambda c: {"images": c.x.int()}, "uint8"),
    "floating bytes": (lambda c: {"images": c.x.float()}, "uint8"),
    "not finite": (lambda c: {"images": c.x.float() / 0}, "not finite"),
    "one image": (lambda c: {"images": c.x[:1], "labels": c.y[:1]}, "fewest"),
    "no image": (lambda c: {"images": [], "labels": []}, "no image"),
    "no picture": (lambda c: {"images": [object()] * 100}, "image 0 is a object"),
    "missing folder": (lambda c: {"images": "nowhere", "labels": None}, "no folder"),
    "missing base": (lambda c: {"model": "nobody"}, "no base model"),
    "normalisation unknown": (lambda c: {"model": OwnNetwork(), "image_size": 16}, "mean="),
    "nan": (lambda c: {"model": broken(c.network), "mean": [0.5], "std": [0.5], "image_size": 16}, "not finite"),
    "branching": (lambda c: {"model": Branching(), "mean": [0.5], "std": [0.5], "image_size": 16}, "trace"),
    "no logits": (lambda c: {"model": NoLogits(), "mean": [0.5], "std": [0.5], "image_size": 16}, "logits"),
    "budget": (lambda c: {"budget_seconds": -1}, "budget_seconds"),
    "optimizer beside no level": (lambda c: {"level": None, "model.optimizer": torch.optim.SGD}, "model.optimizer"),
    "share": (lambda c: {"validation": 1.5}, "share between 0 and 1"),
    "learning rate": (
        lambda c: {"level": "input", "model_options": {"class_path": "torch.optim.AdamW", "init_args": {"lr": -1}}},
        "optimizer",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_said_in_one_sentence(drifted, own_network, case):
    from types import SimpleNamespace

    x, y, *_ = drifted("output", 100)
    change, words = BAD[case]
    arguments = {"model": "digits", "images": x, "labels": y, "level": "output"}
    arguments |= change(SimpleNamespace(x=x, y=y, network=own_network))
    if optimizer := arguments.pop("model_options", None):
        arguments["model.optimizer"] = optimizer
    with pytest.raises(tbft.BadInput) as raised:
        tbft.personalize(arguments.pop("model"), arguments.pop("images"), arguments.pop("labels"), **arguments)
    message = str(raised.value)
    assert words in message and "\n" not in message and len(message) < 400
    assert isinstance(raised.value, tbft.TbftError) and isinstance(raised.value, ValueError)


def test_bad_input_leaves_the_callers_network_as_it_was(own_network, drifted):
    x, y, *_ = drifted("output", 100)
    before, mode = state(own_network), own_network.training
    for inplace in (False, True):
        with pytest.raises(tbft.BadInput):
            tbft.personalize(
                own_network, x, y + 5, level="output", mean=[0.5], std=[0.5], image_size=16, inplace=inplace
            )
    assert same(state(own_network), before) and own_network.training == mode
    assert all(parameter.requires_grad for parameter in own_network.parameters())


def test_what_needs_no_steps_needs_no_lightning(drifted, tmp_path):
    x, y, *_ = drifted("output", 100)
    np.savez(tmp_path / "images.npz", x=x.numpy(), y=y.numpy())
    program = (
        "import sys, numpy, tbft\n"
        "assert 'torch' not in sys.modules\n"
        "data = numpy.load('images.npz')\n"
        "better = tbft.personalize('digits', data['x'], data['y'], level='output', out='out')\n"
        "assert better.kept == 'adapted'\n"
        "heavy = {'lightning', 'torchvision', 'torchmetrics', 'sklearn', 'wandb', 'codecarbon', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, timeout=120)
