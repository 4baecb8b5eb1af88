"""The graphs of a whole network compute what torch computes."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exported import base_model, pictures
from torch import Tensor, nn

from tbft.device.runtime import Runtime, Session
from tbft.errors import BadInput
from tbft.export import inference
from tbft.export.alignment import alignment_step, source_moments
from tbft.export.bundle import export_bundle
from tbft.export.check import STEPS, check_steps, check_training, train_in_torch, training_modes
from tbft.export.forward import Forward, export_forward
from tbft.export.optimizer import SGD, AdamW, Optimizer
from tbft.export.training import TrainedKeys, evaluation, training_step
from tbft.models import BlockChain
from tbft.models.statistics import estimating_statistics

HALF = (0.5,)
ADAMW = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}


@cache
def exported() -> tuple[BlockChain, Forward]:
    chain = base_model("digits")[0]
    return chain, export_forward(chain)


def opened(graph: bytes, forward: Forward) -> Session:
    import onnx

    names = [tensor.name for tensor in onnx.load_from_string(graph).graph.initializer]
    return Runtime(1).open(graph, forward.weights, [name for name in names if name in forward.weights])


def images(count: int, size: int = 16) -> tuple[np.ndarray, Tensor]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    return pixels, (torch.from_numpy(pixels).float() / 255 - 0.5) / 0.5


def keys_of(chain: BlockChain, block: str) -> list[str]:
    own = {id(p) for module in chain.modules_of([block]) for p in module.parameters(recurse=False)}
    return [name for name, parameter in chain.named_parameters() if id(parameter) in own]


def test_the_forward_pass_is_that_of_torch() -> None:
    chain, forward = exported()
    pixels, x = images(5)
    found = opened(inference.whole_network(forward, HALF, HALF), forward)(pixels=pixels)
    with torch.no_grad():
        np.testing.assert_allclose(found["features"], chain(x, stop="fc").numpy(), atol=1e-5)
        np.testing.assert_allclose(found["logits"], chain(x).numpy(), atol=1e-4)


def test_what_enters_a_block_is_that_of_torch() -> None:
    chain, forward = exported()
    pixels, x = images(5)
    found = opened(inference.prefix(forward, "block3", HALF, HALF), forward)(pixels=pixels)
    with torch.no_grad():
        np.testing.assert_allclose(found["features"], chain(x, stop="block3").numpy(), atol=1e-5)


def test_statistics_over_batches_are_those_that_the_large_tool_estimates() -> None:
    chain, forward = exported()
    pixels, x = images(30)
    made = inference.statistics(forward, HALF, HALF)
    assert made is not None
    graph, keys = made
    session, refreshed = opened(graph, forward), copy.deepcopy(chain)
    with estimating_statistics(refreshed):
        for batch in x.split(15):
            refreshed(batch)
    found = np.mean([session(pixels=pixels[i : i + 15])["statistics"] for i in (0, 15)], axis=0)
    expected = torch.cat([refreshed.state_dict()[key] for key in keys])
    assert set(keys) == {key for key in chain.state_dict() if "running" in key}
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)


def train(
    chain: BlockChain, forward: Forward, block: str, optimizer: Optimizer, steps: int, rate: float = 1e-3
) -> tuple[dict[str, np.ndarray], TrainedKeys, np.ndarray, np.ndarray]:
    pixels, _ = images(16, chain.image_size)
    features = opened(inference.prefix(forward, block, HALF, HALF), forward)(pixels=pixels)["features"]
    labels = np.arange(16, dtype=np.int64) % 10
    graph, trained = training_step(forward, block, keys_of(chain, block), optimizer)
    session = opened(graph, forward)
    vectors = {
        "parameters": np.concatenate([forward.weights[key].ravel() for key in trained.parameters]),
        "statistics": np.concatenate([forward.weights[key].ravel() for key in trained.statistics]),
    }
    vectors |= {f"moment{i + 1}": np.zeros_like(vectors["parameters"]) for i in range(optimizer.moments)}
    for number in range(1, steps + 1):
        made = session(**vectors, features=features, labels=labels, rate=np.array(rate), step=np.array(float(number)))
        vectors = {name: made[f"new_{name}"] for name in vectors}
    return vectors, trained, features, labels


def test_twenty_steps_of_a_block_are_those_of_torch() -> None:
    chain, forward = exported()
    vectors, trained, features, labels = train(chain, forward, "block3", AdamW(), STEPS)
    orders = [np.arange(16)] * STEPS
    expected = train_in_torch(chain, "block3", trained, features, labels, orders, ADAMW, rate=1e-3)
    np.testing.assert_allclose(vectors["parameters"], expected["parameters"], atol=1e-5)
    np.testing.assert_allclose(vectors["statistics"], expected["statistics"], rtol=1e-4, atol=1e-5)


def test_a_trained_block_is_evaluated_as_in_torch() -> None:
    chain, forward = exported()
    vectors, trained, features, _ = train(chain, forward, "block3", AdamW(), 3)
    session = opened(evaluation(forward, "block3", trained), forward)
    found = session(features=features, parameters=vectors["parameters"], statistics=vectors["statistics"])
    adapted = copy.deepcopy(chain)
    state = dict(chain.state_dict())
    for name, keys in (("parameters", trained.parameters), ("statistics", trained.statistics)):
        sizes = [state[key].numel() for key in keys]
        for key, piece in zip(keys, np.split(vectors[name], np.cumsum(sizes)[:-1]), strict=True):
            state[key] = torch.from_numpy(piece.copy()).reshape(state[key].shape)
    adapted.load_state_dict(state)
    with torch.no_grad():
        np.testing.assert_allclose(found["logits"], adapted(torch.from_numpy(features), start="block3"), atol=1e-4)


def test_sgd_with_momentum_steps_as_in_torch() -> None:
    chain, forward = exported()
    vectors, trained, features, labels = train(chain, forward, "block3", SGD(0.9, 1e-2), 4, rate=1e-2)
    mine = copy.deepcopy(chain)
    training_modes(mine, "block3")
    named = dict(mine.named_parameters())
    optimizer = torch.optim.SGD([named[key] for key in trained.parameters], lr=1e-2, momentum=0.9, weight_decay=1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        logits = mine(torch.from_numpy(features), start="block3")
        F.cross_entropy(logits, torch.from_numpy(labels)).backward()
        optimizer.step()
    expected = np.concatenate([named[key].detach().numpy().ravel() for key in trained.parameters])
    np.testing.assert_allclose(vectors["parameters"], expected, atol=1e-5)


def distance(features: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """What aligning lessens: mean and covariance of 3 x 3 neighbourhoods, each relative to the source's."""
    stride = max(1, features.shape[-1] // 8)
    rows = F.unfold(features, 3, stride=stride).transpose(1, 2).flatten(0, 1)
    own = torch.cov(rows.T, correction=0)
    differences = (rows.mean(0) - mean, mean), (own - covariance, covariance)
    return torch.stack([off.square().sum() / source.square().sum() for off, source in differences]).sum()


def test_aligning_the_front_block_is_gradient_descent_on_its_loss() -> None:
    chain, forward = exported()
    dark = (pictures("source")[0][:40] * 0.4).astype(np.uint8)
    x = (torch.from_numpy(dark).float() / 255 - 0.5) / 0.5
    moments = source_moments(chain, (torch.from_numpy(pictures("source")[0]).float() / 255 - 0.5) / 0.5, "block1")
    graph, trained = alignment_step(forward, "block1", keys_of(chain, "block1"), AdamW(), HALF, HALF)
    session = opened(graph, forward)
    vectors = {"parameters": np.concatenate([forward.weights[key].ravel() for key in trained.parameters])}
    vectors |= {name: np.zeros_like(vectors["parameters"]) for name in ("moment1", "moment2")}
    mine = copy.deepcopy(chain)
    training_modes(mine, "block1")
    named = dict(mine.named_parameters())
    optimizer = torch.optim.AdamW([named[key] for key in trained.parameters], lr=5e-3)
    source = [part.astype(np.float32) for part in (moments.mean, moments.covariance)]
    targets = dict(zip(("source_mean", "source_covariance"), source, strict=True))
    losses = []
    for number in range(1, 6):
        made = session(pixels=dark, **vectors, **targets, rate=np.array(5e-3), step=np.array(float(number)))
        vectors = {name: made[f"new_{name}"] for name in vectors}
        optimizer.zero_grad()
        loss = distance(mine(x, stop="block2"), *map(torch.from_numpy, source))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assert float(made["loss"]) == pytest.approx(loss.item(), rel=1e-4)
    assert losses[-1] < losses[0]
    expected = np.concatenate([named[key].detach().numpy().ravel() for key in trained.parameters])
    np.testing.assert_allclose(vectors["parameters"], expected, atol=1e-5)


class SqueezeAndExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class Mobile(BlockChain):
    """The parts of a MobileNetV3, once each."""

    num_classes, image_size = 10, 16

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.stage = nn.Sequential(
            *(nn.Conv2d(8, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6()),
            *(nn.Conv2d(12, 12, 5, 2, 2, groups=12, bias=False), nn.BatchNorm2d(12, momentum=0.01), nn.SiLU()),
            *(SqueezeAndExcite(12), nn.Conv2d(12, 16, 1, bias=False), nn.BatchNorm2d(16), nn.Dropout(0.2)),
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(16, 10)

    def chain(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"block1": (self.stem,), "block2": (self.stage,), "pool": (self.pool,), "fc": (self.fc,)}


def test_a_mobile_network_steps_as_in_torch() -> None:
    """Depthwise convolutions, squeeze and excitation, hard swish; the check that every export makes of itself."""
    torch.manual_seed(0)
    chain = Mobile().eval()
    forward = export_forward(chain)
    block = chain.block_of("feature")
    graph, trained = training_step(forward, block, keys_of(chain, block), AdamW())
    pixels, _ = images(8, chain.image_size)
    features = opened(inference.prefix(forward, block, HALF, HALF), forward)(pixels=pixels)["features"]
    check_steps(chain, block, trained, opened(graph, forward), features, np.arange(8, dtype=np.int64), ADAMW)


class Standardised(nn.Conv2d):
    """Weight standardisation as timm has it: by torch's operator for BatchNorm."""

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(rows, None, None, training=True).reshape(self.weight.shape)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class WindowedAttention(nn.Module):
    """Attention over five axes (images, heads, windows, places, channels), nobody to himself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(channels), nn.Linear(channels, 3 * channels)
        self.register_buffer("others", ~torch.eye(4, dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        images, channels, rows, columns = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        split = self.qkv(self.norm(tokens)).reshape(images, rows * columns // 4, 4, 3, 2, channels // 2)
        query, key, value = split.permute(3, 0, 4, 1, 2, 5).unbind(0)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=self.others)
        return F.gelu(tokens + seen.permute(0, 2, 3, 1, 4).reshape(tokens.shape))


class MeanOfTokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class Attentive(BlockChain):
    """The parts of an attention network that has no BatchNorm, and a parameter that takes no part."""

    num_classes, image_size = 10, 16

    def __init__(self) -> None:
        super().__init__()
        self.stem = Standardised(3, 8, 4, stride=4)
        self.stage = nn.Sequential(Standardised(8, 8, 1), WindowedAttention(8))
        self.stage.unused = nn.Parameter(torch.ones(3))
        self.pool = MeanOfTokens()
        self.fc = nn.Linear(8, 10)

    def chain(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"block1": (self.stem,), "block2": (self.stage,), "pool": (self.pool,), "fc": (self.fc,)}


def test_an_attention_network_without_batch_norm_predicts_and_steps_as_in_torch() -> None:
    torch.manual_seed(0)
    chain = Attentive().eval()
    forward = export_forward(chain)
    pixels, x = images(8, chain.image_size)
    found = opened(inference.whole_network(forward, HALF, HALF), forward)(pixels=pixels)
    with torch.no_grad():
        np.testing.assert_allclose(found["logits"], chain(x).numpy(), atol=1e-5)
    assert inference.statistics(forward, HALF, HALF) is None  # weights are standardised, activations are not
    graph, trained = training_step(forward, "block2", keys_of(chain, "block2"), AdamW())
    assert "stage.unused" not in trained.parameters
    assert trained.statistics == ()
    labels = np.arange(8, dtype=np.int64)
    check_training(chain, "block2", trained, opened(graph, forward), forward.shapes["block1"], labels, ADAMW)


def test_a_network_without_batch_norm_is_trained_on_a_device(tmp_path) -> None:
    torch.manual_seed(0)
    export_bundle(Attentive().eval(), tmp_path / "pet.pyz")
    from tbft.device import load

    record = load(tmp_path / "pet.pyz", threads=1).personalize(*pictures("output"), level="feature")
    assert record["status"] == "completed"
    assert record["steps"] > 0


def test_an_export_that_differs_is_refused_with_the_parameter() -> None:
    chain, forward = exported()
    graph, trained = training_step(forward, "block3", keys_of(chain, "block3"), AdamW())
    features = opened(inference.prefix(forward, "block3", HALF, HALF), forward)(pixels=images(8)[0])["features"]
    other = copy.deepcopy(chain)
    other.get_parameter("bn.weight").data *= 1.5
    with pytest.raises(BadInput, match=r"the gradient of layer3\.0\.\S+ is another one in onnxruntime"):
        check_steps(other, "block3", trained, opened(graph, forward), features, np.arange(8, dtype=np.int64), ADAMW)


def test_what_cannot_be_trained_is_named_and_the_rest_is_exported(tmp_path, caplog) -> None:
    class Wavy(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(x)

    chain = copy.deepcopy(base_model("digits")[0])
    chain.pool[0] = Wavy()  # type: ignore[index, operator]
    export_bundle(chain, tmp_path / "pet.pyz")
    from tbft.device import load

    device = load(tmp_path / "pet.pyz", threads=1)
    assert "the operator Sin (in pool.0) has no gradient" in device.info()["left_out"]["training block3"]
    assert "training block3 is not in the bundle" in caplog.text
    drifted, labels = pictures("output")
    assert device.personalize(drifted, labels, level="output")["kept"] == "adapted"
    with pytest.raises(BadInput, match="cannot train block3"):
        device.personalize(drifted, labels, level="feature")
