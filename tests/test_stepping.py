"""Training in the plain loop is Lightning's training, bit for bit, without Lightning."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import tbft
import tbft.personalization
from tbft import progress
from tbft.adaptation.optimization import without_compiler
from tbft.adaptation.stepping import honours
from tbft.data import Digits

pytestmark = pytest.mark.numbers
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4}}
LBFGS = {"class_path": "torch.optim.LBFGS", "init_args": {"lr": 0.1, "max_iter": 2}}
CASES = {
    "input level": ("input", {}),
    "feature level": ("feature", {}),
    "16 bits": ("feature", {"model.number_format": "bf16", "freeze.statistics": "source"}),
    "full, momentum, cycle": (
        "feature",
        {"config": "strategy/full.yaml", "model.optimizer": SGD, "model.schedule": "one_cycle"},
    ),
    "own rates, constant, augmented": (
        "input",
        {
            "freeze.blocks": ["block1", "fc"],
            "model.learning_rates": {"fc": 1e-2},
            "model.schedule": "constant",
            "data.augment": "crop",
        },
    ),
    "an optimiser that asks twice": ("feature", {"model.optimizer": LBFGS, "model.number_format": "plain"}),
    "diverges": ("feature", {"model.optimizer": {**SGD, "init_args": {"lr": 1e9}}}),
}


def digits(level, size=90):
    drift = {"task": "superclasses"} if level == "feature" else {"corruption": "contrast"}
    data = Digits(image_size=16, train_size=size, **drift)
    data.setup()
    return torch.cat([data.train.x, data.val.x]), torch.cat([data.train.y, data.val.y])


def by_both(monkeypatch, base, *given, **options):
    """What the loop and what Lightning's trainer make of the same."""
    looped = tbft.personalize(base, *given, **options)
    monkeypatch.setattr(tbft.personalization, "honours", lambda options: False)
    return looped, tbft.personalize(base, *given, **options)


def check_same(one, other):
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    records = [better.record.as_dict for better in (one, other)]
    for name in ("epochs", "steps", "kept", "kept_reason", "accuracy", "blocks", "parameters", "stopped_by"):
        assert records[0][name] == records[1][name], name
    clocks = ("joules", "wall_seconds")
    curves = [[{k: v for k, v in point.items() if k not in clocks} for point in each["curve"]] for each in records]
    assert repr(curves[0]) == repr(curves[1])  # to the last bit, and NaN is NaN


@pytest.mark.parametrize("case", CASES)
def test_the_loop_trains_as_lightning_does(monkeypatch, case):
    level, options = CASES[case]
    base = "digits_superclasses" if level == "feature" else "digits"
    options = {"trainer.max_epochs": 2, "data.batch_size": 24, **options}  # 81 images: the last batch is not full
    looped, trained = by_both(monkeypatch, base, *digits(level), level=level, **options)
    assert looped.record.epochs == 2 and looped.record.steps == 8
    check_same(looped, trained)


def test_the_climb_trains_as_with_lightning(monkeypatch):
    looped, trained = by_both(monkeypatch, "digits", *digits("input", 300), **{"trainer.max_epochs": 3})
    assert looped.record.steps > 0
    check_same(looped, trained)


def test_a_budget_that_preparing_used_up_trains_no_step(monkeypatch):
    looped, trained = by_both(monkeypatch, "digits", *digits("input"), level="input", budget_seconds=1e-6)
    assert looped.record.as_dict["stopped_by"] == "budget_seconds" and looped.record.steps == 0
    check_same(looped, trained)


def test_what_is_booked_is_booked_to_its_phase():
    better = tbft.personalize("digits", *digits("input"), level="input")
    assert all(better.record.as_dict["cpu_seconds"][phase] > 0 for phase in ("prepare", "train", "validate"))


@pytest.mark.parametrize("level", ["input", None], ids=["a named level", "the ladder"])
def test_training_shows_how_far_it_is_where_somebody_looks(monkeypatch, capsys, level):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for name in ("_PATIENCE_SECONDS", "_LOOK_AFTER_SECONDS", "_REDRAW_SECONDS"):
        monkeypatch.setattr(progress, name, 0.0)
    x, y = digits("input", 300)
    tbft.personalize("digits", x, y, level=level)
    assert re.search(r"training block\d.*, epoch 1 of \d", capsys.readouterr().err)
    tbft.personalize("digits", x, y, level=level, trainer={"enable_progress_bar": False})
    assert "training" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate_grad_batches": 2},
        {"max_steps": 3},
        {"callbacks": [object()]},
        {"max_epochs": -1},
        {"max_epochs": None},
        {"accelerator": "tpu"},
        {"gradient_clip_val": 1.0},
    ],
)
def test_what_the_loop_does_not_know_is_the_trainers(options):
    assert honours({"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False, "callbacks": None})
    assert not honours(options)


def test_an_option_of_the_trainer_is_honoured():
    better = tbft.personalize("digits", *digits("input"), level="input", trainer={"accumulate_grad_batches": 2})
    assert better.record.steps == 2 * 2  # of 3 batches of 32 images in an epoch


def test_an_unknown_schedule_is_refused():
    with pytest.raises(tbft.BadInput, match="'linear': choose "):
        tbft.personalize("digits", *digits("input"), level="input", **{"model.schedule": "linear"})


def test_an_optimizer_without_the_compiler_takes_the_same_steps():
    def trained(kind):
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 7))
        optimizer = kind([weight], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            weight.pow(4).sum().backward()
            optimizer.step()
        return weight.detach()

    for kind in (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad):
        before = trained(without_compiler(kind))
        assert torch.equal(before, trained(kind)) and torch.equal(before, trained(without_compiler.__wrapped__(kind)))


def test_training_imports_neither_lightning_nor_a_compiler(tmp_path):
    x, y = digits("input", 300)
    np.savez(tmp_path / "images.npz", x=x.numpy(), y=y.numpy())
    program = (
        "import sys, numpy, tbft\n"
        "data = numpy.load('images.npz')\n"
        "named = tbft.personalize('digits', data['x'], data['y'], level='input')\n"
        "climbed = tbft.personalize('digits', data['x'], data['y'])\n"
        "assert named.record.as_dict['process']['since'] == 'process start'\n"
        "assert named.record.steps and climbed.record.steps\n"
        "aligned = tbft.personalize('digits', data['x'], data['y'], **{'ladder.train': False})\n"
        "assert any('align' in step['remedies'] for step in aligned.record.as_dict['remedies'])\n"
        "heavy = {'lightning', 'torchmetrics', 'torchvision', 'torch._dynamo', 'sympy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, timeout=120)
