"""The number format is measured once on a machine, and every format computes the same network."""

import json

import pytest
import torch

from tbft.data.batches import Batch
from tbft.models import number_format
from tbft.models.number_format import NumberFormat, cheapest_format
from tbft.module import ImageClassifier

pytestmark = pytest.mark.numbers

CPU = torch.device("cpu")
PLAIN, LAST, HALF = NumberFormat(False, False), NumberFormat(True, False), NumberFormat(True, True)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def takes(monkeypatch, *seconds):
    calls = []

    def measured(options, device):
        calls.append(options)
        return dict(zip((PLAIN, LAST, HALF), seconds, strict=True))

    monkeypatch.setattr(number_format, "_seconds", measured)
    return calls


@pytest.mark.parametrize(
    ("seconds", "best"),
    [((1, 2, 3), PLAIN), ((2, 1, 3), LAST), ((2, 1, 0.9), LAST), ((2, 1, 0.5), HALF), ((1, 2, 0.7), HALF)],
)
def test_the_cheapest_wins_and_bfloat16_only_by_a_fifth(monkeypatch, seconds, best):
    takes(monkeypatch, *seconds)
    assert cheapest_format(CPU) == best


def test_a_machine_is_measured_once(monkeypatch, tmp_path):
    calls = takes(monkeypatch, 2, 1, 0.5)
    assert cheapest_format(CPU) == cheapest_format(CPU) == HALF
    assert len(calls) == 1
    (file,) = (tmp_path / "tbft").iterdir()
    assert json.loads(file.read_text()) == {"channels_last": True, "bf16": True}


@pytest.mark.parametrize("text", ["", "{", '{"colour": 1}'])
def test_a_broken_note_is_measured_again(monkeypatch, tmp_path, text):
    takes(monkeypatch, 2, 1, 0.5)
    cheapest_format(CPU)
    (file,) = (tmp_path / "tbft").iterdir()
    file.write_text(text)
    takes(monkeypatch, 1, 2, 3)
    assert cheapest_format(CPU) == PLAIN


def test_where_nothing_can_be_written_it_is_measured_each_time(monkeypatch, tmp_path):
    (tmp_path / "tbft").write_text("a file where the folder should be")
    calls = takes(monkeypatch, 2, 1, 0.5)
    assert cheapest_format(CPU) == cheapest_format(CPU) == HALF
    assert len(calls) == 2


def test_the_real_measurement_ends_and_names_a_format():
    assert cheapest_format(CPU) in (PLAIN, LAST, HALF)


def test_each_format_computes_the_same_network():
    batch = Batch(
        torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.zeros(8, dtype=torch.long)
    )
    logits = {}
    for how in (PLAIN, LAST, HALF):
        module = ImageClassifier(base="digits").eval()
        module.computes_in(how)
        with torch.no_grad():
            logits[how] = module(batch)
        assert logits[how].dtype == torch.float32
        assert module.model.head.weight.dtype == torch.float32
    assert torch.allclose(logits[LAST], logits[PLAIN], atol=1e-4)
    assert torch.equal(logits[HALF].argmax(1), logits[PLAIN].argmax(1))
    assert not torch.equal(logits[HALF], logits[LAST])
