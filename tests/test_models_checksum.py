"""A weights file that was changed or cut short is refused, or holds what was written all the same."""

import random
from pathlib import Path

import pytest
import torch

from tbft.errors import BadInput
from tbft.models import build, read_weights, save_weights


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_changed_weights_file_is_never_taken(tmp_path, suffix):
    chain = build("resnet8", num_classes=3, image_size=16)
    path = tmp_path / f"base{suffix}"
    if suffix == ".pt":
        torch.save(chain.state_dict(), path)
    else:
        save_weights(chain, path, ("a", "b", "c"))
    whole, expected = path.read_bytes(), read_weights(str(path))
    chance, refused = random.Random(0), 0
    for _ in range(80):
        place, count = chance.randrange(len(whole)), chance.choice([1, 16, 2000])
        changed = bytearray(whole)
        changed[place : place + count] = bytes(b ^ chance.randint(1, 255) for b in whole[place : place + count])
        path.write_bytes(changed if chance.random() < 0.7 else whole[:place])
        try:
            read = read_weights(str(path))
        except BadInput as error:
            assert str(path) in str(error)
            refused += 1
            continue
        assert (read.classes, read.mean, read.std) == (expected.classes, expected.mean, expected.std)
        assert all(torch.equal(read.weights[key], value) for key, value in expected.weights.items())
    assert refused > 60


def test_the_weights_that_ship_are_as_they_were_written():
    from safetensors import safe_open

    from tbft.models.base_weights import BUNDLED

    for path in Path(BUNDLED).glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert len((file.metadata() or {})["sha256"]) == 64
        read_weights(str(path))
