"""Accuracy in a record is what plain torch makes of the weights files, without any of this project's networks."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file

from tbft.data import Digits
from tbft.models import read_weights

pytestmark = pytest.mark.numbers

DRIFTS = {
    "input": {"corruption": "contrast"},
    "feature": {"task": "superclasses"},
    "output": {"label_map": "flip"},
    "auto": {"corruption": "contrast", "label_map": "flip"},
    "auto without labels": {"corruption": "contrast", "labelled": False},
}


def norm(weights, name, x):
    keys = ("running_mean", "running_var", "weight", "bias")
    return F.relu(F.batch_norm(x, *(weights[f"{name}.{key}"] for key in keys)))


def logits(weights, x):
    """The paper's ResNet, written down from its description: pre-activation, shortcuts without parameters."""
    x = F.conv2d(x, weights["conv1.weight"], padding=1)
    blocks = sorted({key.rsplit(".", 2)[0] for key in weights if key.startswith("layer")})
    for name in blocks:
        y = norm(weights, f"{name}.bn1", x)
        stride = 2 if name.endswith(".0") and not name.startswith("layer1") else 1
        y = F.conv2d(y, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
        y = F.conv2d(norm(weights, f"{name}.bn2", y), weights[f"{name}.conv2.weight"], padding=1)
        short = F.avg_pool2d(x, stride)
        x = y + torch.cat([short, short.new_zeros(len(x), y.shape[1] - x.shape[1], *y.shape[2:])], 1)
    return F.linear(norm(weights, "bn", x).mean((2, 3)), weights["fc.weight"], weights["fc.bias"])


def accuracy(file, images):
    weights = load_file(file)
    with safe_open(file, "pt") as opened:
        said = opened.metadata()
    mean, std = (torch.tensor(json.loads(said[name])).view(1, -1, 1, 1) for name in ("mean", "std"))
    return float((logits(weights, (images.x / 255 - mean) / std).argmax(1) == images.y).double().mean())


@pytest.mark.parametrize("case", DRIFTS)
def test_accuracy_in_the_record_is_that_of_the_saved_weights(run, case):
    drift, level = DRIFTS[case], case.split(" ", maxsplit=1)[0]
    base = "digits_superclasses" if level == "feature" else "digits"
    options = [f"--data.{name}={value}" for name, value in drift.items()]
    options += ["--model.base", base, "--model.number_format", "plain", "--data.train_size", "100"]
    code, record = run("fit", "--config", f"{level}.yaml", *options)
    data = Digits(image_size=16, train_size=100, **drift)
    data.setup()
    assert code == 0 and record["kept"] == "adapted"
    assert record["accuracy"]["base"] == pytest.approx(accuracy(read_weights(base).path, data.test), abs=1.5e-3)
    kept = accuracy(Path("runs/run/model.safetensors"), data.test)
    assert record["accuracy"]["test"] == pytest.approx(kept, abs=1.5e-3)  # one of 698 images may round otherwise
    if not level.startswith("auto"):  # which judges each image by a fit that has not seen it
        validated = accuracy(Path("runs/run/model.safetensors"), data.val)
        assert record["accuracy"]["validation"] == pytest.approx(validated, abs=1e-6)
