"""Any classifier as a chain of blocks: exact, frozen where it should be, told from its file, or refused."""

import copy
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from backbone_families import FAMILIES, check_family
from torch import nn

from tbft.errors import BadInput
from tbft.models import build, load_weights, read_weights, save_weights
from tbft.models.spec import ChainSpec
from tbft.models.statistics import can_refresh, set_modes
from tbft.models.traced import chain_of
from tbft.module import ImageClassifier

SHORT = {
    *("resnet18", "mobilenetv3", "efficientnet", "regnet", "convnext", "vision_transformer", "shufflenet_v2_x0_5"),
    *("squeezenet1_1", "dla", "xcit", "edgenext", "starnet", "vovnet"),
}


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.name in SHORT], ids=lambda family: family.name)
def test_a_chain_is_its_network(family):
    assert check_family(family) == ""


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x):
        return x + F.relu(self.norm(self.conv(x)))


class Classifier(nn.Module):
    """Two residual stages; functions of the network itself read the mode and a parameter at the root."""

    def __init__(self, drop=0.5):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, padding=1)
        self.front, self.down, self.back = Residual(8), nn.Conv2d(8, 16, 3, 2, padding=1), Residual(16)
        self.scale = nn.Parameter(torch.ones(16))
        self.never_used = nn.Linear(2, 2)
        self.register_buffer("mean", torch.zeros(()))  # a name that a chain has too
        self.readout, self.drop = nn.Linear(16, 4), drop

    def forward(self, images):
        x = self.back(self.down(self.front(self.stem(images - self.mean))))
        x = x.mean((2, 3)) * self.scale
        return self.readout(F.dropout(x, self.drop, self.training))


def test_stages_pool_and_head_of_any_network_are_found():
    chain = chain_of(Classifier(), image_size=16)
    assert chain.links == ("block1", "block2", "pool", "fc") and chain.blocks == ("block1", "block2", "fc")
    assert [chain.block_of(level) for level in ("input", "feature", "output")] == ["block1", "block2", "fc"]
    assert chain.head.out_features == chain.num_classes == 4 and chain.linear_head
    assert chain(torch.zeros(2, 3, 16, 16), stop="block2").shape == (2, 8, 8, 8)


def test_each_block_of_a_network_that_never_branches_can_be_tuned():
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU()]
    head = [nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)]
    chain = chain_of(nn.Sequential(*layers, *head), image_size=16)
    sizes = [sum(p.numel() for m in chain.modules_of([b]) for p in m.parameters(recurse=False)) for b in chain.links]
    assert chain.links == ("block1", "block2", "pool", "fc") and sizes == [112, 296, 72, 18]


def test_a_bottleneck_networks_first_block_is_stem_and_first_stage():
    from torchvision.models import resnet50

    network = resnet50(num_classes=2)
    chain = chain_of(network, image_size=32)
    mine = {id(p) for module in chain.modules_of(["block1"]) for p in module.parameters(recurse=False)}
    stem = [network.conv1, network.bn1, network.layer1]
    assert mine == {id(p) for module in stem for p in module.parameters()} and chain.block_of("feature") == "block4"


def test_the_network_stays_the_users_and_shares_its_weights():
    network = Classifier().train()
    before = copy.deepcopy(network.state_dict())
    generator = torch.get_rng_state()
    chain = chain_of(network, image_size=16)
    assert network.training and torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert list(chain.state_dict()) == list(before)
    assert [name for name, _ in chain.named_parameters()] == [name for name, _ in network.named_parameters()]
    chain.double()
    assert network.scale.dtype == network.mean.dtype == torch.float64
    x = torch.randn(2, 3, 16, 16).double()
    assert torch.equal(network.eval()(x), chain.eval()(x))
    twin = copy.deepcopy(chain)
    nn.init.zeros_(twin.head.weight)
    assert twin(x).std(0).max() == 0 < chain(x).std(0).max()


def test_a_function_drops_out_only_where_its_link_trains():
    chain = chain_of(Classifier(), image_size=16)
    x = torch.randn(64, 16)
    for trained, drops in ((["fc"], False), (["pool"], True), ([], False)):
        set_modes(chain, trained)
        assert bool((chain(x[:, :, None, None], start="pool", stop="fc") == 0).any()) == drops


def test_parameters_at_the_root_belong_to_a_link():
    chain = chain_of(Classifier(), image_size=16)
    names = {id(p): name for name, p in chain.named_parameters()}
    of = {
        link: {names[id(p)] for m in chain.modules_of([link]) for p in m.parameters(recurse=False)}
        for link in chain.links
    }
    assert of["pool"] == {"scale"} and of["fc"] == {"readout.weight", "readout.bias"}
    assert {"stem.weight", "front.norm.bias"} <= of["block1"] and "back.conv.weight" in of["block2"]
    assert {name for link in of.values() for name in link} == {n for n in names.values() if "never_used" not in n}
    assert sum(map(len, of.values())) == len(set().union(*of.values()))  # each in one link alone


def test_a_vits_class_token_trains_with_its_first_block():
    chain = build("timm:vit_tiny_patch16_224", num_classes=3, image_size=32)
    first = {id(p) for module in chain.modules_of(["block1"]) for p in module.parameters(recurse=False)}
    assert {id(chain.get_parameter(name)) for name in ("cls_token", "pos_embed")} <= first
    sizes = [
        sum({id(p): p.numel() for m in chain.modules_of([b]) for p in m.parameters(recurse=False)}.values())
        for b in ("block1", "block2", "block3")
    ]
    assert chain.blocks == ("block1", "block2", "block3", "fc") and max(sizes) < 1.2 * min(sizes)
    assert not can_refresh(chain)


class Sharing(Classifier):
    def forward(self, images):
        x = self.front(self.front(self.stem(images)))
        return self.readout(self.back(self.down(x)).mean((2, 3)) * self.scale * self.front.norm.weight.mean())


def test_links_that_share_a_parameter_are_one_link():
    chain = chain_of(Sharing(), image_size=16)
    assert chain.links == ("block1", "fc") and chain.blocks == ("block1", "fc")


class Chooses(Classifier):
    def forward(self, images):
        return super().forward(images if images.sum() > 0 else -images)


class Auxiliary(Classifier):
    def forward(self, images):
        y = super().forward(images)
        return (y, y) if self.training else y


class Scaled(Classifier):
    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, images):
        return super().forward(images) * self.temperature


class Tied(Classifier):
    def forward(self, images):
        return super().forward(images * self.readout.weight.sum())


class Broken(Classifier):
    def __init__(self):
        super().__init__()
        nn.init.constant_(self.readout.weight, float("nan"))


REFUSED = {
    "control flow on data": (Chooses(), "cannot be traced"),
    "two outputs in training": (Auxiliary(), "a tuple in training and no logits"),
    "a feature map": (nn.Sequential(nn.Conv2d(3, 4, 1)), r"gives \(3, 4, 16, 16\)"),
    "no linear head": (Scaled(), "no linear head .its last layer is temperature"),
    "a head that shares": (Tied(), "its head, which shares parameters"),
    "weights that are no numbers": (Broken(), "not finite"),
    "another size": (nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), "3 channels and 16 px"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_network_that_is_no_chain_is_refused_with_the_reason(case):
    network, words = REFUSED[case]
    with pytest.raises(BadInput, match=words) as refused:
        chain_of(network, image_size=16)
    assert len(str(refused.value).splitlines()) == 1


class Plain(nn.Module):
    """Cannot be traced, but runs its modules one after the other."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3, 2), nn.Sequential(nn.ReLU(), Residual(4)), nn.AdaptiveAvgPool2d(1)
        self.d = nn.Linear(4, 2)

    def forward(self, x):
        assert x.min() < x.max()
        return self.d(self.c(self.b(self.a(x))).flatten(1))


def test_blocks_by_name_need_no_tracing():
    network = Plain()
    with pytest.raises(BadInput, match="blocks="):
        chain_of(network, image_size=16)
    chain = chain_of(network, image_size=16, blocks={"block1": ["a"], "block2": ["b"], "pool": ["c"], "fc": ["d"]})
    x = torch.randn(2, 3, 16, 16)
    assert chain.blocks == ("block1", "block2", "fc") and torch.equal(chain.eval()(x), network.eval()(x))
    again = chain_of(network, image_size=16, spec=ChainSpec.from_json(chain.spec.to_json()))
    assert again.links == chain.links
    for wrong, words in (
        ({"block1": ["a"], "fc": ["e"]}, "no module 'e'"),
        ({"block1": ["a", "a"], "fc": ["d"]}, "'a' stands in it twice"),
        ({"block1": ["a"], "pool": ["c"], "fc": ["d"]}, "another network"),
        ({"block1": ["a"], "block2": ["b"], "fc": ["d"]}, "another network"),
        ({"block1": ["a"]}, "at last 'fc'"),
        ({"pool": ["a"], "fc": ["d"]}, "give block1"),
    ):
        with pytest.raises(BadInput, match=words):
            chain_of(network, image_size=16, blocks=wrong)


def test_a_traced_network_is_cut_behind_the_named_modules():
    chain = chain_of(Classifier(), image_size=16, blocks=["front", "down", "back"])
    assert chain.links == ("block1", "block2", "block3", "pool", "fc")
    assert chain(torch.zeros(1, 3, 16, 16), stop="block3").shape == (1, 16, 4, 4)
    with pytest.raises(BadInput, match=r"behind 'back\.conv'.*more than one tensor"):
        chain_of(Classifier(), image_size=16, blocks=["back.conv"])


def test_a_file_says_how_its_network_is_cut(tmp_path):
    chain = build("timm:mobilenetv3_small_050", num_classes=3, image_size=32)
    file = tmp_path / "model.safetensors"
    save_weights(chain, file, ("a", "b", "c"))
    base = read_weights(str(file))
    assert base.network == {"architecture": "timm:mobilenetv3_small_050", "spec": chain.spec, "num_classes": 3}
    assert (base.mean, base.std, base.image_size) == (chain.mean, chain.std, 32)
    assert chain.mean == (0.485, 0.456, 0.406)
    again = build(**base.network, image_size=base.image_size)
    load_weights(again, base)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(again.eval()(x), chain.eval()(x))
    with pytest.raises(BadInput, match="3 classes apart"):
        load_weights(build("resnet8", num_classes=4, image_size=32), base)
    with pytest.raises(BadInput, match=r"another architecture \(timm:mobilenetv3_small_050"):
        load_weights(build("resnet8", num_classes=3, image_size=32), base)
    with pytest.raises(BadInput, match=r"another architecture \(timm:mobilenetv3_small_050"):
        ImageClassifier(str(file), architecture="torchvision:shufflenet_v2_x0_5")
    # What is loaded need not be downloaded.
    module = ImageClassifier(str(file), architecture="timm:mobilenetv3_small_050@pretrained")
    assert module.model.spec == chain.spec and torch.equal(module.model.eval()(x), chain(x))


def test_a_state_dict_loads_into_the_architecture_that_is_named(tmp_path):
    chain = build("torchvision:shufflenet_v2_x0_5", num_classes=3, image_size=32)
    torch.save({"state_dict": {f"model.{k}": v for k, v in chain.network.state_dict().items()}}, tmp_path / "base.pt")
    with pytest.raises(BadInput, match=r"give model\.architecture"):
        read_weights(str(tmp_path / "base.pt"))
    other = build("torchvision:shufflenet_v2_x0_5", num_classes=3, image_size=32)
    load_weights(other, read_weights(str(tmp_path / "base.pt"), "torchvision:shufflenet_v2_x0_5"))
    assert all(torch.equal(a, b) for a, b in zip(chain.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ('{"links": [], "head": "fc", "levels": {}}', "'fc' last"),
        ("[1]", "cannot be read"),
    ],
)
def test_a_spec_of_another_form_is_explained(text, words):
    with pytest.raises(BadInput, match=words):
        ChainSpec.from_json(text)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:mobilenetv3_smal_100", "did you mean mobilenetv3_small_100"),
        ("torchvision:resnet19", "did you mean"),
        ("timm:resnet18@best", "'pretrained' alone"),
        ("torchvision:maxvit_t", "32 px"),
    ],
)
def test_a_wrong_name_is_explained(name, words):
    with pytest.raises(BadInput, match=words):
        build(name, num_classes=3, image_size=32)


def test_pretrained_weights_without_a_network_are_refused_at_once(monkeypatch, tmp_path):
    import huggingface_hub.constants

    nobody = "http://127.0.0.1:9"  # the discard port: the connection is refused
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", nobody)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    began = time.monotonic()
    with pytest.raises(BadInput, match=r"pretrained weights of timm:mobilenetv3_small_100 cannot be downloaded") as no:
        build("timm:mobilenetv3_small_100@pretrained", num_classes=3, image_size=32)
    assert len(str(no.value).splitlines()) == 1 and time.monotonic() - began < 60


def test_a_backbone_is_trained_and_personalized_by_the_same_commands(run, capsys):
    small = ("--model.architecture", "timm:mobilenetv3_small_050", "--model.num_classes", "10")
    options = ("--model.image_size", "32", "--trainer.max_epochs", "3", "--model.optimizer.init_args.lr", "0.02")
    code, record = run("fit", "--config", "base/digits.yaml", *small, *options, name="base")
    assert code == 0 and record["parameters"]["trained"] == record["parameters"]["total"]
    base = ("--model.base", "runs/base/model.safetensors", "--data.task", "digits")
    code, record = run("fit", "--config", "feature.yaml", *base, name="feature")
    assert code == 0 and record["strategy"] == "block" and record["blocks"] == ["block4"]
    assert record["accuracy"]["test"] > record["accuracy"]["base"] and record["kept"] == "adapted"
    assert run("test", "--config", "runs/feature/config.yaml")[0] == 0
    assert str(record["accuracy"]["test"])[:5] in capsys.readouterr().out
    code, record = run("fit", "--config", "output.yaml", *base, name="output")
    assert code == 0 and record["accuracy"]["test"] > record["accuracy"]["base"]


def test_a_head_that_is_no_linear_layer_is_not_solved(run, capsys):
    squeezenet = ("--model.architecture", "torchvision:squeezenet1_1", "--model.num_classes", "10")
    assert (
        run("fit", "--config", "output.yaml", "--model.base", "null", *squeezenet, "--model.image_size", "32")[0] == 2
    )
    assert "--head.solve false" in capsys.readouterr().err


def test_torch_fx_timm_and_torchvision_are_not_imported_until_they_are_needed():
    import subprocess
    import sys

    code = (
        "import sys, tbft.models; print([m for m in ('timm', 'torchvision', 'tbft.models.traced') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    root = str(Path(__file__).parents[1])
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.strip() == "[]"
