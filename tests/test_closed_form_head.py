"""The head is solved, not trained: ridge regression on features that are computed once."""

from zlib import crc32

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tbft.adaptation import closed_form_head
from tbft.adaptation.closed_form_head import ClosedFormHead
from tbft.data import Digits
from tbft.models import read_weights
from tbft.models.head import solve_head
from tbft.module import ImageClassifier


def clusters(count, seed, classes=4, features=12, spread=1.0):
    centres = torch.randn(classes, features, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % classes
    return centres[y] + spread * torch.randn(count, features, generator=generator), y


def ridge(x, y, classes, penalty):
    """Weights and bias from the normal equations of centred data."""
    x, targets = x.double(), F.one_hot(y, classes).double()
    centred = x - x.mean(0)
    strength = penalty * x.var(0).mean() * len(x)
    gram = centred.T @ centred + strength * torch.eye(x.shape[1], dtype=torch.double)
    weight = torch.linalg.solve(gram, centred.T @ (targets - targets.mean(0))).T
    return weight, targets.mean(0) - weight @ x.mean(0)


def test_the_solution_is_that_of_the_normal_equations():
    train, validation = clusters(200, 1), clusters(100, 2)
    head = solve_head(train, validation, 4, penalties=[0.1])
    weight, bias = ridge(*train, 4, 0.1)
    scale = (head.layer.weight.double() / weight).mean()
    assert torch.allclose(head.layer.weight.double(), scale * weight, atol=1e-5)
    assert torch.allclose(head.layer.bias.double(), scale * bias, atol=1e-5)


def test_the_penalty_is_the_best_on_validation_and_of_equals_the_strongest():
    train, validation = clusters(60, 1, spread=2.5), clusters(400, 2, spread=2.5)
    accuracy = {}
    for penalty in (1e-3, 1e-2, 1e-1, 1.0):
        weight, bias = ridge(*train, 4, penalty)
        accuracy[penalty] = (
            ((validation[0].double() @ weight.T + bias).argmax(1) == validation[1]).float().mean().item()
        )
    head = solve_head(train, validation, 4)
    assert head.accuracy == pytest.approx(max(accuracy.values()))
    assert head.penalty == max(p for p, a in accuracy.items() if a == max(accuracy.values()))


def test_logits_are_fit_for_a_softmax():
    train, validation = clusters(400, 1), clusters(400, 2)
    layer = solve_head(train, validation, 4).layer
    with torch.no_grad():
        logits = layer(validation[0])
        loss = F.cross_entropy(logits, validation[1])
        assert loss < F.cross_entropy(logits / 2, validation[1])
        assert loss < F.cross_entropy(logits / 8, validation[1])


def test_a_class_without_images_gets_no_image():
    x, y = clusters(90, 1, classes=3)
    layer = solve_head((x, y), (x, y), 5).layer
    assert isinstance(layer, nn.Linear) and layer(x).argmax(1).max() < 3


def test_output_drift_is_undone_without_an_epoch(run):
    code, record = run("fit", "--config", "output.yaml")
    assert code == 0 and record["epochs"] == 0 and record["steps"] == 0
    assert record["blocks"] == ["fc"] and record["accuracy"]["test"] > record["accuracy"]["base"] + 0.5
    base, tuned = read_weights("digits").weights, read_weights("runs/run/model.safetensors").weights
    changed = {key for key, value in tuned.items() if not torch.equal(value, base[key])}
    assert {"fc.weight", "fc.bias"} <= changed
    assert all("running" in key or "num_batches" in key for key in changed - {"fc.weight", "fc.bias"})


@pytest.fixture
def solved_from(monkeypatch):
    """Images that the head is solved from, of 720, where a feature is the label's centre and noise around it."""
    module, data = ImageClassifier(base="digits"), Digits(train_size=800, test_size=0, image_size=16)
    data.setup()

    def solve(noise, images=None):
        def features_of(module, examples, stop):
            drawn = [np.random.default_rng(crc32(image.numpy().tobytes())).normal(size=2000) for image in examples.x]
            centres = np.eye(10, 2000)[examples.y]
            return torch.from_numpy(centres + noise * np.array(drawn)).float()

        monkeypatch.setattr(closed_form_head, "features_of", features_of)
        monkeypatch.setattr(data, "enter_at", lambda *args, **kwargs: None)
        monkeypatch.setattr(type(module.model), "head", property(lambda chain: nn.Linear(2000, 10)))
        head = ClosedFormHead(solve=True, images=images)
        head.solve_into(module, data)
        return head.used

    return solve


def test_more_images_are_used_only_where_validation_gains(solved_from):
    assert solved_from(noise=0.1) == 200  # 10 a class classify all images, and twice as many no more
    assert solved_from(noise=0.2) == 720  # each doubling gains many images
    assert solved_from(noise=0.2, images=150) == 150


def test_the_images_to_solve_from_can_be_given(run, caplog):
    assert run("fit", "--config", "output.yaml", "--head.images", "100", "--run.test", "false")[0] == 0
    (line,) = [r for r in caplog.records if "the head is solved from" in r.msg]
    assert line.args[0] == 100


def test_what_is_not_the_head_alone_is_trained(run):
    code, record = run("fit", "--config", "output.yaml", "--freeze.blocks", "[block3, fc]", "--trainer.max_epochs", "1")
    assert code == 0 and record["epochs"] == 1
