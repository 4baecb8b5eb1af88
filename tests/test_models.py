"""Networks as chains of blocks, and the weights of base models."""

import copy
import pickle

import pytest
import torch
from safetensors.torch import save_file

from tbft.errors import BadInput
from tbft.models import build, describe, load_weights, read_weights, save_weights
from tbft.models.statistics import estimating_statistics
from tbft.models.torchvision_resnet import NAMES as TORCHVISION

pytestmark = pytest.mark.numbers

NETWORKS = [("resnet8", 16), ("resnet26", 32), ("resnet18", 64), ("resnet50", 64)]


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_chain_cut_anywhere_is_the_whole_network(name, size):
    chain = build(name, num_classes=5, image_size=size).eval()
    x = torch.randn(2, 3, size, size)
    whole = chain(x)
    assert whole.shape == (2, 5)
    for link in chain.links:
        assert torch.equal(chain(chain(x, stop=link), start=link), whole)


def test_torchvision_chain_equals_torchvision():
    from torchvision.models import resnet18

    reference = resnet18(num_classes=5).eval()
    chain = build("resnet18", num_classes=5, image_size=64).eval()
    chain.load_state_dict(reference.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert torch.allclose(chain(x), reference(x), atol=1e-5)


def test_resnet26_is_the_papers():
    chain = build("resnet26", num_classes=10, image_size=32)
    # 368,787 values with BatchNorm buffers (the paper's checkpoint).
    assert sum(value.numel() for value in chain.state_dict().values()) == 368_787
    assert {"conv1.weight", "layer1.0.bn1.weight", "layer3.3.conv2.weight", "bn.bias", "fc.weight"} <= set(
        chain.state_dict()
    )
    assert build("resnet26", num_classes=17, image_size=128).fc.weight.shape == (17, 1024)


def test_levels_tune_front_middle_and_rear():
    paper, torchvision = (build(n, num_classes=3, image_size=32) for n in ("resnet26", "resnet18"))
    assert [paper.block_of(level) for level in ("input", "feature", "output")] == ["block1", "block3", "fc"]
    assert [torchvision.block_of(level) for level in ("input", "feature", "output")] == [
        "block1",
        "block4",
        "fc",
    ]
    with pytest.raises(BadInput, match="input, feature, output"):
        paper.block_of("sensor")


def test_split_cuts_around_the_target():
    chain = build("resnet8", num_classes=3, image_size=16)
    assert chain.split(["block2"]) == (("block1",), ("block2",), ("block3", "pool", "fc"))
    assert chain.split(["block1", "fc"]) == ((), ("block1", "fc"), ("block2", "block3", "pool"))
    assert chain.split([]) == (chain.links, (), ())


def test_unknown_block_names_the_known_ones():
    with pytest.raises(BadInput, match=r"block1, block2, block3, fc"):
        build("resnet8", num_classes=3, image_size=16).resolve(["block7"])


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_architecture_is_told_from_the_weights(name, size):
    chain = build(name, num_classes=7, image_size=size)
    found = describe(chain.state_dict())
    assert (found["architecture"], found["num_classes"]) == (name, 7)


def test_every_torchvision_resnet_is_told_from_its_own_weights():
    from torchvision.models import get_model

    for name in TORCHVISION:
        with torch.device("meta"):  # shapes alone
            reference = get_model(name, num_classes=7).state_dict()
            chain = build(name, num_classes=7, image_size=64).state_dict()
        assert describe(reference) == {"architecture": name, "num_classes": 7, "width": 16}
        assert {k: v.shape for k, v in chain.items()} == {k: v.shape for k, v in reference.items()}
    with torch.device("meta"):
        assert describe(get_model("resnet50", width_per_group=96).state_dict()) is None


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
def test_weights_load_under_any_usual_prefix(tmp_path, prefix):
    chain = build("resnet8", num_classes=4, image_size=32)
    torch.save({"state_dict": {prefix + k: v for k, v in chain.state_dict().items()}}, tmp_path / "base.pt")
    other = build("resnet8", num_classes=4, image_size=32)
    load_weights(other, read_weights(str(tmp_path / "base.pt")))
    assert all(torch.equal(a, b) for a, b in zip(chain.parameters(), other.parameters(), strict=True))


def test_saved_weights_carry_what_a_device_must_know(tmp_path):
    chain = build("resnet8", num_classes=3, image_size=16)
    save_weights(chain, tmp_path / "model.safetensors", ("a", "b", "c"))
    base = read_weights(str(tmp_path / "model.safetensors"))
    assert (base.classes, base.image_size) == (("a", "b", "c"), 16)
    assert (base.mean, base.std) == ((0.5,), (0.5,))
    assert all(torch.equal(base.weights[k], v) for k, v in chain.state_dict().items())


class _Malicious:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_checkpoint_that_could_run_code_is_refused(tmp_path, capsys):
    (tmp_path / "base.pt").write_bytes(pickle.dumps(_Malicious()))
    with pytest.raises(BadInput):
        read_weights(str(tmp_path / "base.pt"))
    torch.save({"state_dict": {}, "extra": _Malicious()}, tmp_path / "base2.pt")
    with pytest.raises(BadInput, match="could run code"):
        read_weights(str(tmp_path / "base2.pt"))
    assert "code ran" not in capsys.readouterr().out


def test_weights_that_do_not_fit_are_explained(tmp_path):
    save_file({"a.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match="no architecture known"):
        read_weights(str(tmp_path / "other.safetensors"))
    torch.save(build("resnet8", num_classes=4, image_size=32).state_dict(), tmp_path / "base.pt")
    base = read_weights(str(tmp_path / "base.pt"))
    with pytest.raises(BadInput, match="4 classes apart and the data has 5"):
        load_weights(build("resnet8", num_classes=5, image_size=32), base)
    with pytest.raises(BadInput, match="another architecture"):
        load_weights(build("resnet14", num_classes=4, image_size=32), base)
    base.weights["layer1.0.se.weight"] = torch.zeros(3)
    with pytest.raises(BadInput, match=r"resnet8 .* layer1\.0\.se\.weight\): such a network is not supported"):
        load_weights(build("resnet8", num_classes=4, image_size=32), base)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [({"classes": "cat,dog"}, r"classes: 'cat,dog'.*\["), ({"image_size": "64x64"}, "image_size: '64x64'.*pixels")],
)
def test_metadata_of_another_form_is_explained(tmp_path, metadata, words):
    weights = build("resnet8", num_classes=2, image_size=16).state_dict()
    save_file(weights, tmp_path / "base.safetensors", metadata)
    with pytest.raises(BadInput, match=words):
        read_weights(str(tmp_path / "base.safetensors"))


def test_refreshed_statistics_are_those_of_the_images():
    chain = build("resnet8", num_classes=3, image_size=16)
    chain.layer1.eval()
    x = torch.randn(64, 3, 16, 16) * 3 + 1
    weights = copy.deepcopy(dict(chain.named_parameters()))
    with estimating_statistics(chain):
        chain(x)
    stem = chain.conv1(x)
    norm = chain.layer1[0].bn1
    assert torch.allclose(norm.running_mean, stem.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, stem.var((0, 2, 3)), rtol=1e-4)
    assert not chain.layer1.training and chain.layer2.training  # modes are as before
    assert all(torch.equal(p, weights[name]) for name, p in chain.named_parameters())
