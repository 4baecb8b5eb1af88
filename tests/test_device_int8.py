"""A bundle that predicts in 8-bit whole numbers answers as in float, before and after adapting, or keeps to float."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import base_model, pictures, write_bundle
from torch import nn

import tbft.device.int8
from tbft.device import Device, load
from tbft.device.calibration import Comparison
from tbft.device.command import main
from tbft.device.int8 import LARGEST_WEIGHT, Layer, quantised
from tbft.device.network import Network
from tbft.errors import BadInput
from tbft.export.bundle import export_bundle
from tbft.models import BlockChain


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return load(write_bundle(tmp_path, int8=True), threads=1)


def answers(device: Device, pixels: np.ndarray) -> np.ndarray:
    return np.array([row.label for row in device.predict(pixels)])


def float_logits(device: Device, pixels: np.ndarray) -> np.ndarray:
    """What the same weights make of pictures in float."""
    return Network(device.bundle, device.runtime, changed=device.state.current()).run(pixels)[1]


def test_the_base_model_answers_in_int8_as_in_float(device: Device) -> None:
    pixels, _ = pictures("source", "test")
    network = Network(device.bundle, device.runtime)
    logits, whole = network.predict(pixels), network.run(pixels)[1]
    assert (logits.argmax(1) == whole.argmax(1)).mean() > 0.98
    assert 0 < np.abs(logits - whole).mean() < 0.05 * np.abs(whole).mean()
    assert (device.info()["predicts"], device.info()["int8"]["images"]) == ("int8", len(pictures("source")[0]))


@pytest.mark.parametrize(
    ("drift", "base"), [("input", "digits"), ("feature", "digits_superclasses"), ("output", "digits")]
)
def test_an_adaptation_answers_in_int8_as_in_float(tmp_path: Path, drift: str, base: str) -> None:
    device = load(write_bundle(tmp_path, base, int8=True), threads=1)
    record = device.personalize(*pictures(drift), level=drift)  # type: ignore[arg-type]
    assert record["kept"] == "adapted" and record["int8"]["kept"]
    pixels, labels = pictures(drift, "test")
    found, whole = answers(device, pixels), float_logits(device, pixels).argmax(1)
    assert (found == whole).mean() > 0.96
    assert (found == labels).mean() > (whole == labels).mean() - 0.02
    device.revert()
    assert device.info()["predicts"] == "int8"


def test_an_adaptation_that_int8_spoils_predicts_in_float(device: Device, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(tbft.device.int8, "LARGEST_WEIGHT", 1)  # weights of -1, 0 and 1
    record = device.personalize(*pictures("input"), level="input")
    assert not record["int8"]["kept"] and record["int8"]["accuracy"] < record["int8"]["float_accuracy"]
    pixels, _ = pictures("input", "test")
    np.testing.assert_array_equal(answers(device, pixels), float_logits(device, pixels).argmax(1))
    assert main(["info"], tmp_path / "pet.pyz") == 0
    assert "predicts    in float (int8: " in capsys.readouterr().out


def test_an_export_that_int8_spoils_is_refused(tmp_path: Path, monkeypatch) -> None:
    chain, base = base_model("digits")
    monkeypatch.setattr(tbft.device.int8, "LARGEST_WEIGHT", 1)
    source = dict(zip(("source", "source_labels"), pictures("source"), strict=True))
    with pytest.raises(BadInput, match=r"int8 is not as good as float .*accuracy .* export without --int8"):
        export_bundle(chain, tmp_path / "pet.pyz", int8=True, mean=base.mean, std=base.std, **source)
    with pytest.raises(BadInput, match=r"calibrated on source pictures, and 0 are given: give --source"):
        export_bundle(chain, tmp_path / "pet.pyz", int8=True)
    assert not list(tmp_path.iterdir())


class Perceptron(BlockChain):
    """A network whose work is in its linear layers."""

    num_classes, image_size = 10, 16

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten())
        self.stage = nn.Sequential(nn.Linear(1024, 64), nn.ReLU())
        self.fc = nn.Linear(64, 10)

    def chain(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"block1": (self.stem,), "block2": (self.stage,), "fc": (self.fc,)}


def test_a_network_with_few_convolutions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"quantises convolutions, and these are 4 % of this network"):
        export_bundle(Perceptron().eval(), tmp_path / "pet.pyz", int8=True, source=pictures("source")[0])


def test_weights_are_rounded_with_the_batch_norm_behind_them() -> None:
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    nn.init.normal_(norm.weight)
    fused = torch.nn.utils.fusion.fuse_conv_bn_eval(convolution.eval(), copy.deepcopy(norm))
    state = {f"conv.{key}": value for key, value in convolution.state_dict().items()}
    state |= {f"bn.{key}": value for key, value in norm.state_dict().items()}
    keys = tuple(f"bn.{name}" for name in ("weight", "bias", "running_mean", "running_var"))
    layer = Layer("conv.weight", "conv.bias", keys, norm.eps, entry=0)
    weights = {key: value.numpy() for key, value in state.items()}
    made = quantised([layer], np.array([[-1.0, 3.0]], np.float32), weights)
    whole, scale = made["conv.weight:weight"], made["conv.weight:scale"].reshape(-1, 1, 1, 1)
    assert whole.dtype == np.int8 and np.abs(whole).max() == LARGEST_WEIGHT
    np.testing.assert_allclose(whole * scale, fused.weight.detach().numpy(), atol=0.501 * scale.max())
    bias = made["conv.weight:bias"] * made["conv.weight:bias_scale"]
    np.testing.assert_allclose(bias, fused.bias.detach().numpy(), atol=1e-3)
    step, zero = made["range0:scale"], made["range0:zero_point"]
    assert ((0.0 - zero) * step, (255.0 - zero) * step) == (pytest.approx(-1.0, abs=0.02), pytest.approx(3.0, abs=0.02))


def test_a_channel_of_zeros_keeps_its_bias() -> None:
    weights = {"w": np.zeros((2, 3, 1, 1), np.float32), "b": np.array([1e3, -0.5], np.float32)}
    made = quantised([Layer("w", "b", (), 0.0, 0)], np.array([[0.0, 1e-3]], np.float32), weights)
    np.testing.assert_allclose(made["w:bias"] * made["w:bias_scale"], weights["b"], rtol=1e-6)


def test_int8_is_judged_by_the_answers_and_by_the_accuracy() -> None:
    labels = np.arange(200) % 10
    right = np.eye(10)[labels]
    others = [right.copy() for _ in range(3)]
    for logits, changed in zip(others, (3, 8, 11), strict=True):
        logits[:changed] = np.roll(logits[:changed], 1, axis=1)
    assert [Comparison.of(right, logits, labels).holds for logits in others] == [True, False, False]
    assert [Comparison.of(right, logits, None).holds for logits in others] == [True, True, False]
    better = Comparison.of(others[2], right, labels)
    assert better.holds and better.agreement == pytest.approx(1 - 11 / 200)
    assert not Comparison.of(right, np.full_like(right, np.nan), labels).holds


def test_a_delta_passes_between_bundles_with_and_without_int8(tmp_path: Path, device: Device) -> None:
    (tmp_path / "plain").mkdir()
    plain = load(write_bundle(tmp_path / "plain"), threads=1)
    pixels, labels = pictures("output", "test")
    for giver, taker, numbers in ((device, plain, "float"), (plain, device, "float"), (device, device, "int8")):
        giver.personalize(*pictures("output"), level="output")
        delta = tmp_path / "better.delta"
        delta.write_bytes(giver.delta() or b"")
        taker.apply(delta)
        assert taker.info()["predicts"] == numbers
        assert (answers(taker, pixels) == labels).mean() > 0.9
