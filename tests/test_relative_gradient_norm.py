"""Auto-RGN gives each tensor a learning rate of its own: checked against values computed by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from bare_trainer import bare_trainer

from tbft.callbacks import BlockFreezeCallback, RelativeGradientNormCallback
from tbft.callbacks.relative_gradient_norm import relative_gradient_norms
from tbft.data import Digits
from tbft.module import ImageClassifier

pytestmark = pytest.mark.numbers

RATE = 0.1


def fitted(blocks, *, batch_size=256):
    """Before, after and the weights of one step of plain SGD, over all training images at once."""
    torch.manual_seed(0)
    sgd = lambda parameters: torch.optim.SGD(parameters, lr=RATE)  # noqa: E731
    module = ImageClassifier(base="digits", schedule="constant", optimizer=sgd)
    before = {name: value.clone() for name, value in module.model.state_dict().items()}
    scaling = RelativeGradientNormCallback()
    trainer = bare_trainer(
        max_epochs=1,
        callbacks=[BlockFreezeCallback(blocks=blocks), scaling],
    )
    data = Digits(label_map="flip", train_size=100, image_size=16, batch_size=batch_size)
    trainer.fit(module, datamodule=data)
    return module, before, scaling.weights, data


def test_the_weights_are_the_relative_gradient_norms_over_the_largest():
    module, before, weights, data = fitted(["fc"])
    module.model.load_state_dict(before)
    module.model.eval()
    batch = data.train.__getitems__(range(len(data.train)))
    F.cross_entropy(module(batch), batch.y).backward()
    ratios = {}
    for name, parameter in module.model.head.named_parameters():
        squares = [g * g for g in parameter.grad.flatten().tolist()], [p * p for p in parameter.flatten().tolist()]
        ratios[name] = math.sqrt(sum(squares[0])) / math.sqrt(sum(squares[1]))
    assert len(weights) == 2
    for name, ratio in ratios.items():
        (weight,) = (value for key, value in weights.items() if key.endswith(name))
        assert weight == pytest.approx(ratio / max(ratios.values()), rel=1e-4)


def test_a_step_is_as_long_as_its_weight_says():
    module, before, weights, data = fitted(["fc"])
    after = {name: value.clone() for name, value in module.model.state_dict().items()}
    trained = {name for name in after if not torch.equal(after[name], before[name])}
    assert trained == set(weights)
    module.model.load_state_dict(before)
    module.model.eval()  # what the head sees comes from frozen blocks
    batch = data.train.__getitems__(range(len(data.train)))
    module.zero_grad()
    F.cross_entropy(module(batch), batch.y).backward()
    for name, parameter in module.model.named_parameters():
        if name in weights:
            expected = before[name] - RATE * weights[name] * parameter.grad
            torch.testing.assert_close(after[name], expected, rtol=1e-4, atol=1e-6)


def test_all_tensors_but_those_of_batch_normalisation_learn():
    module, before, weights, _ = fitted(["all"], batch_size=16)
    norms = {
        f"{path}.{name}"
        for path, part in module.model.named_modules()
        if isinstance(part, torch.nn.BatchNorm2d)
        for name, _ in part.named_parameters()
    }
    names = dict(module.model.named_parameters())
    assert norms and set(weights) == set(names) - norms
    assert max(weights.values()) == 1.0 and min(weights.values()) > 0
    assert all(torch.equal(parameter, before[name]) == (name in norms) for name, parameter in names.items())


def test_measuring_leaves_no_trace():
    module = ImageClassifier(base="digits")
    data = Digits(label_map="flip", train_size=100, image_size=16)
    data.setup("fit")
    before = {name: value.clone() for name, value in module.model.state_dict().items()}
    module.model.train()
    batches = [data.train.__getitems__(positions) for positions in ([0, 1, 2], [3, 4, 5])]
    relative_gradient_norms(module.model, batches, lambda batch: F.cross_entropy(module(batch), batch.y))
    assert all(torch.equal(value, before[name]) for name, value in module.model.state_dict().items())
    assert module.model.training and all(parameter.grad is None for parameter in module.model.parameters())


def test_the_strategy_wins_accuracy_back_at_every_level(run):
    for level in ("input", "feature", "output"):
        code, record = run("fit", "--config", f"{level}.yaml", "--config", "strategy/auto-rgn.yaml", name=level)
        assert code == 0 and record["strategy"] == "auto-rgn"
        assert record["accuracy"]["test"] > record["accuracy"]["base"] + 0.2, level
