"""The Python door: what people have at hand is taken for what it is, or refused in one line before anything changes."""

import copy
import pickle
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import tbft
from tbft.data import Digits

pytestmark = pytest.mark.numbers
NAN = float("nan")


@pytest.fixture(scope="module")
def sample():
    data = Digits(image_size=16, train_size=100, label_map="flip")
    data.setup()
    return torch.cat([data.train.x, data.val.x]), torch.cat([data.train.y, data.val.y]), data.test.x[:200]


class Network(nn.Module):
    """Anybody's small network, of images with so many channels."""

    def __init__(self, channels=3, classes=10):
        super().__init__()
        torch.manual_seed(0)
        self.front = nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.back = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.classify = nn.Linear(16, classes)

    def forward(self, x):
        return self.classify(self.back(self.front(x)).mean((2, 3)))


class AlwaysDropping(Network):
    def forward(self, x):
        return self.classify(nn.functional.dropout(self.back(self.front(x)).mean((2, 3))))


class OwningMore(Network):
    """Has a convolution before the one that images enter."""

    def __init__(self):
        super().__init__()
        self._modules = {"aside": nn.Conv2d(16, 4, 1), **self._modules}


def made_for_inference():
    with torch.inference_mode():
        return Network()


OWN = {"mean": 0.5, "std": 0.5, "image_size": 16}


def weights(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def generators():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()


REFUSED = {
    "labels as rows with a one": (lambda x, y: {"labels": np.eye(10)[y]}, "shape (100, 10)"),
    "labels as arrays": (lambda x, y: {"labels": [*np.eye(10)[y]]}, "neither a class index"),
    "infinite label": (lambda x, y: {"labels": [*y.tolist()[:-1], float("inf")]}, "label inf"),
    "one label": (lambda x, y: {"labels": 3}, "labels are a int"),
    "labels without order": (lambda x, y: {"labels": {*range(10)}}, "labels are a set"),
    "labels by key": (lambda x, y: {"labels": dict(enumerate(y.tolist()))}, "labels are a dict"),
    "floating-point picture": (lambda x, y: {"images": [Image.new("F", (8, 8))] * 100}, "floating-point pixels"),
    "picture without pixels": (lambda x, y: {"images": [Image.new("L", (0, 8))] * 100}, "no pixels"),
    "picture of five channels": (lambda x, y: {"images": [np.zeros((8, 8, 5), np.uint8)] * 100}, "shape (8, 8, 5)"),
    "images without data": (lambda x, y: {"images": x.to("meta")}, "on meta"),
    "sparse images": (lambda x, y: {"images": x.float().to_sparse()}, "dense"),
    "grey normalised images": (lambda x, y: {"images": x[:, :1].float() / 127.5 - 1}, "1 channels"),
    "narrow normalised images": (lambda x, y: {"images": x[..., :8].float() / 127.5 - 1}, "16 x 8 px"),
    "images on the scale 0 to 1": (lambda x, y: {"images": x.float() / 255}, "normalised"),
    "dark images on the scale 0 to 1": (lambda x, y: {"images": x.float() / 900}, "normalised"),
    "seed": (lambda x, y: {"seed": -1}, "seed is -1"),
    "seed in words": (lambda x, y: {"seed": "0"}, "seed is '0'"),
    "share in words": (lambda x, y: {"validation": "0.1"}, "validation is '0.1'"),
    "no size": (lambda x, y: {"image_size": 0}, "image_size is 0"),
    "mean": (lambda x, y: {"mean": "grey"}, "mean is ['grey']"),
    "mean of bytes": (lambda x, y: {"mean": [123.7, 116.3, 103.5], "std": [58, 57, 57]}, "on the scale 0 to 1"),
    "an option twice": (lambda x, y: {"data.batch_size": 3, "data": {"batch_size": 4}}, "given twice, as 3 and 4"),
    "names as numbers": (lambda x, y: {"classes": [*range(10)]}, "as text"),
    "names in one word": (lambda x, y: {"classes": "0123456789"}, "as text"),
    "one name for all": (lambda x, y: {"classes": ["a"] * 10}, "'a' and 'a'"),
    "names in another order": (lambda x, y: {"classes": [*"9876543210"]}, "another order"),
    "positions or names": (
        lambda x, y: {"model": Network(), "labels": y.clamp(1, 9), "classes": [str(i + 1) for i in range(10)], **OWN},
        "label 1 may be the class at position 1, which is '2'",
    ),
    "a file in place": (lambda x, y: {"inplace": True}, "inplace="),
    "blocks of a file": (lambda x, y: {"blocks": ["layer1"]}, "blocks="),
    "a state dict": (lambda x, y: {"model": {}}, "the model is a dict"),
    "half precision": (lambda x, y: {"model": Network().half(), **OWN}, "float16"),
    "weights without values": (lambda x, y: {"model": nn.Linear(2, 2, device="meta"), **OWN}, "no values"),
    "lazy weights": (lambda x, y: {"model": nn.LazyLinear(2), **OWN}, "no values"),
    "one output": (lambda x, y: {"model": Network(classes=1), "labels": 0 * y, **OWN}, "one number an image"),
    "probabilities": (lambda x, y: {"model": nn.Sequential(Network(), nn.Softmax(1)), **OWN}, "probabilities"),
    "sigmoid": (lambda x, y: {"model": nn.Sequential(Network(), nn.Sigmoid()), **OWN}, "sigmoid"),
    "centred, not scaled": (lambda x, y: {"images": x.float() - 128}, "normalised"),
    "dropout that is never off": (lambda x, y: {"model": AlwaysDropping(), **OWN}, "dropout that is never off"),
    "nothing to train in front": (
        lambda x, y: {"model": nn.Sequential(nn.Flatten(), nn.Linear(768, 10)), "level": "input", **OWN},
        "no weight to train",
    ),
    "no weights": (lambda x, y: {"model": nn.Flatten(), **OWN}, "without any weight"),
    "script": (lambda x, y: {"model": torch.jit.trace(Network(), x[:2].float()), **OWN}, "TorchScript"),
    "made for inference": (lambda x, y: {"model": made_for_inference(), "inplace": True, **OWN}, "inplace=True"),
    "old weight norm": (
        lambda x, y: {"model": nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(2, 2))), **OWN},
        "inplace=True",
    ),
    "option of another type": (lambda x, y: {"trainer.max_epochs": "3"}, "trainer.max_epochs is '3'"),
    "option of no choice": (lambda x, y: {"freeze.statistics": "fresh"}, "choose source, refresh, batch"),
    "number format": (lambda x, y: {"model.number_format": "int4"}, "choose plain, channels_last"),
    "budget in words": (lambda x, y: {"budget_joules": "5"}, "budget_joules is '5'"),
    "option of the ladder": (lambda x, y: {"ladder.target_accuracy": 0.9}, "ladder.climb, which is off"),
    "several processes": (lambda x, y: {"level": "input", "trainer.devices": 2}, "one process"),
    "optimiser": (lambda x, y: {"level": "input", "model.optimizer": "SGD"}, "class_path"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line_and_nothing_is_drawn(sample, case):
    x, y, _ = sample
    change, words = REFUSED[case]
    given = {"model": "digits", "images": x, "labels": y, "level": "output"} | change(x, y)
    before = generators()
    with pytest.raises(tbft.BadInput) as raised:
        tbft.personalize(given.pop("model"), given.pop("images"), given.pop("labels"), **given)
    assert words in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 400
    assert generators() == before


def test_labels_of_a_folder_are_of_its_pictures_in_an_order_that_nobody_can_mistake(sample, tmp_path):
    x, y, _ = sample
    for i, image in enumerate(x):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
    with pytest.raises(tbft.BadInput, match=r"19\.png before 2\.png; give a list of paths"):
        tbft.personalize("digits", tmp_path, y, level="output")
    for path in tmp_path.iterdir():
        path.rename(tmp_path / f"{path.stem:0>3}.png")
    expected = tbft.personalize("digits", x, y, level="output")
    assert same(weights(tbft.personalize("digits", tmp_path, y, level="output").model), weights(expected.model))


FILES = {
    "section": ("freez: {blocks: [fc]}", "did you mean freeze"),
    "option": ("freeze: {blocs: [fc]}", "did you mean freeze.blocks"),
    "no options": ("freeze: fc", "give options"),
    "list": ("[freeze]", "no sections"),
    "nothing": ("", "no sections"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_of_options_is_read_whole_or_refused(sample, tmp_path, case):
    text, words = FILES[case]
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(tbft.BadInput, match=words):
        tbft.personalize("digits", *sample[:2], level="output", config=file)


def test_a_file_says_numbers_as_on_the_command_line(sample, tmp_path):
    x, y, _ = sample
    rate = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-3}}
    options = {"level": "input", "trainer.max_epochs": 1}
    expected = tbft.personalize("digits", x, y, **options, **{"model.optimizer": rate})
    file = tmp_path / "own.yaml"
    file.write_text("model: {optimizer: {class_path: torch.optim.SGD, init_args: {lr: 1e-3}}}")
    assert same(weights(tbft.personalize("digits", x, y, config=file, **options).model), weights(expected.model))


def test_a_failure_in_the_middle_leaves_the_callers_random_numbers_and_network(sample, monkeypatch):
    from tbft.adaptation.adaptation import Adaptation

    def fail(self):
        with self.preparing():
            random.random(), np.random.rand(), torch.rand(1)
            self.classifier.model.head.bias.data += 1
        raise RuntimeError("the sensor fell off")

    monkeypatch.setattr(Adaptation, "run_without_steps", fail)
    network, (x, y, _) = Network(), sample
    before, drawn = weights(network), generators()
    with pytest.raises(RuntimeError, match="fell off"):
        tbft.personalize(network, x, y, level="output", inplace=True, **OWN)
    assert generators() == drawn and same(weights(network), before) and network.training


def test_a_diagnosis_draws_no_number_of_the_callers_and_takes_the_same_seeds(sample):
    x, y, _ = sample
    drawn = generators()
    tbft.diagnose("digits", x, y)
    assert generators() == drawn
    with pytest.raises(tbft.BadInput, match="seed is -1"):
        tbft.diagnose("digits", x, y, seed=-1)


@pytest.mark.parametrize("level", [None, "input", "feature"])
def test_batches_of_one_image_need_more_than_one_number_a_channel(sample, level):
    x, y, _ = sample
    flat = nn.Sequential(Network(), nn.BatchNorm1d(10), nn.Linear(10, 10))
    with pytest.raises(tbft.BadInput, match="one number a channel"):
        tbft.personalize(flat, x, y, level=level, **OWN, **{"data.batch_size": 1})
    better = tbft.personalize(flat, x, y, level="output", **OWN, **{"data.batch_size": 1})  # which takes no step
    assert better.record.steps == 0


def test_a_seed_of_numpy_is_a_seed(sample):
    x, y, _ = sample
    options = {"level": "input", "trainer.max_epochs": 1}
    expected = weights(tbft.personalize("digits", x, y, seed=200, **options).model)
    assert same(weights(tbft.personalize("digits", x, y, seed=np.uint8(200), **options).model), expected)


def test_classes_without_a_labelled_image_are_told_where_the_level_is_named(sample, caplog):
    x, y, _ = sample
    tbft.personalize("digits", x[y < 8], y[y < 8], level="output")
    assert "2 of 10 classes have no labelled image" in caplog.text


def test_labels_of_any_library_mean_the_same(sample):
    x, y, _ = sample
    expected = weights(tbft.personalize("digits", x, y, level="output").model)
    for labels in (
        [*y],
        [*y.numpy()],
        y.double(),
        y[:, None],
        [np.str_(label) for label in y.tolist()],
        (i for i in y.tolist()),
    ):
        assert same(weights(tbft.personalize("digits", x, labels, level="output").model), expected)


def test_floating_point_images_are_augmented_as_bytes_are(sample):
    x, y, _ = sample
    options = {"level": "input", "data.augment": "crop_and_flip", "trainer.max_epochs": 1}
    expected = weights(tbft.personalize("digits", x, y, **options).model)
    assert same(weights(tbft.personalize("digits", x.float() / 127.5 - 1, y, **options).model), expected)


@pytest.mark.parametrize("kind", [">f4", "f8", "longdouble"])
def test_floating_point_arrays_of_any_kind_mean_the_same(sample, kind):
    x, y, _ = sample
    x = x.float() / 127.5 - 1
    expected = weights(tbft.personalize("digits", x, y, level="output").model)
    array = x.numpy().astype(kind)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(weights(tbft.personalize("digits", array, y, level="output").model), expected)


def test_grey_pictures_fit_a_network_of_one_channel(sample):
    x, y, new = sample
    network = Network(channels=1)
    better = tbft.personalize(network, x[:, :1], y, level="output", **OWN)
    of_floats = tbft.personalize(network, x[:, :1].float() / 127.5 - 1, y, level="output", image_size=16)
    of_pictures = [Image.fromarray(image[0].numpy()) for image in new]
    assert better.predict(of_pictures) == better.predict(new)
    normalised = new[:, :1].float() / 127.5 - 1
    assert [row.label for row in of_floats.predict(normalised)] == [row.label for row in better.predict(new)]
    coloured = new.clone()
    coloured[0, 0] ^= 255
    with pytest.raises(tbft.BadInput, match="takes 1"):
        better.predict(coloured)
    with pytest.raises(tbft.BadInput, match="how this model normalises"):
        of_floats.predict(new)
    with pytest.raises(tbft.BadInput, match="images of 1 channels and a bundle reads pictures in colour"):
        better.export("grey.pyz")


def test_channels_are_those_that_the_network_takes(sample):
    x, y, _ = sample
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10))
    for network in (flat, OwningMore()):
        assert tbft.personalize(network, x, y, level="output", **OWN).kept == "adapted"


@pytest.mark.parametrize("level", ["input", "output"])
def test_a_frozen_network_adapts_as_an_open_one(sample, level):
    x, y, _ = sample
    options = {"level": level, "trainer.max_epochs": 1, **OWN}
    expected = tbft.personalize(Network(), x, y, **options)
    frozen = Network().requires_grad_(False)
    better = tbft.personalize(frozen, x, y, **options)
    assert same(weights(better.model), weights(expected.model))
    assert not any(p.requires_grad for model in (frozen, better.model) for p in model.parameters())


def test_a_compiled_network_is_adapted_as_the_one_it_was_made_from(sample):
    x, y, _ = sample
    expected = tbft.personalize(Network(), x, y, level="output", **OWN)
    better = tbft.personalize(torch.compile(Network()), x, y, level="output", **OWN)
    assert same(weights(better.model), weights(expected.model))


@pytest.mark.parametrize("number_format", ["cheapest", "bf16"])
def test_it_predicts_what_its_saved_file_and_its_network_predict(sample, tmp_path, number_format):
    x, y, new = sample
    better = tbft.personalize("digits", x, y, level="output", **{"model.number_format": number_format})
    predictions = better.predict(new)
    better.save(tmp_path / "better.safetensors")
    assert tbft.load(tmp_path / "better.safetensors").predict(new) == predictions
    with torch.no_grad():
        logits = better.model(new.float() / 127.5 - 1)
    assert logits.argmax(1).tolist() == [row.label for row in predictions]
    with pytest.raises(tbft.BadInput, match=r"ends in \.safetensors"):
        better.save(tmp_path / "better.pt")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda better: pickle.loads(pickle.dumps(better))])
@pytest.mark.parametrize("model", ["digits", Network()], ids=["file", "own"])
def test_a_copy_predicts_alike_and_lives_on_its_own(sample, model, copied):
    x, y, new = sample
    better = tbft.personalize(model, x, y, level="output", **(OWN if model != "digits" else {}))
    twin, expected = copied(better), better.predict(new)
    assert twin.predict(new) == expected and repr(twin) == repr(better)
    with torch.no_grad():
        for parameter in twin.model.parameters():
            parameter.zero_()
    assert better.predict(new) == expected and twin.predict(new) != expected


@contextmanager
def float64():
    torch.set_default_dtype(torch.float64)
    try:
        yield
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


CALLERS = {
    "without gradients": torch.no_grad,
    "for inference": torch.inference_mode,
    "in autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "on another device": lambda: torch.device("meta"),
    "with numpy's errors": lambda: np.errstate(all="raise"),
    "in float64": float64,
}


@pytest.mark.parametrize("level", ["output", None])
@pytest.mark.parametrize("own", [False, True], ids=["file", "own"])
@pytest.mark.parametrize("caller", CALLERS)
def test_a_callers_own_modes_change_no_weight_and_no_prediction(sample, caller, own, level):
    x, y, new = sample
    network, options = (Network(), OWN) if own else ("digits", {})
    expected = tbft.personalize(network, x, y, level=level, **options)
    predictions = expected.predict(new)
    with CALLERS[caller]():
        better = tbft.personalize(network, x, y, level=level, **options)
        assert better.predict(new) == predictions
        assert tbft.load(network, **options).predict(new[:9]) == tbft.load(network, **options).predict(new)[:9]
    assert same(weights(better.model), weights(expected.model))


def test_threads_take_turns(sample):
    x, y, _ = sample
    cases = [("digits", None), (Network(), "input"), ("digits", "feature"), (Network(), None)] * 2

    def adapt(case):
        network, level = case
        return weights(tbft.personalize(network, x, y, level=level, **({} if network == "digits" else OWN)).model)

    expected, drawn = [adapt(case) for case in cases], generators()
    with ThreadPoolExecutor(len(cases)) as pool:
        found = list(pool.map(adapt, cases))
    assert all(map(same, found, expected)) and generators() == drawn
