"""A file of weights is read as the network that it was saved from, or refused."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

import tbft
from tbft.models import build, read_weights, save_weights
from tbft.models.traced import chain_of

pytestmark = pytest.mark.numbers
SIDE = 32


def network(change=lambda net: None):
    torch.manual_seed(0)
    net = resnet18(num_classes=3)
    change(net)
    return net


def without_pooling(net):
    net.maxpool = nn.Identity()


def with_finer_steps(net):
    net.conv1.stride = (1, 1)


def with_another_activation(net):
    for part in net.modules():
        if hasattr(part, "relu"):
            part.relu = nn.SiLU()


@pytest.mark.parametrize("change", [without_pooling, with_finer_steps, with_another_activation])
def test_weights_of_a_changed_network_are_not_put_into_the_usual_one(tmp_path, change):
    model = tbft.load(network(change), mean=0.5, std=0.5, image_size=SIDE)
    model.save(tmp_path / "changed.safetensors")
    with pytest.raises(tbft.BadInput, match="of a resnet18 that was made or changed otherwise"):
        tbft.load(tmp_path / "changed.safetensors")


def test_weights_of_a_usual_network_are_read_again(tmp_path):
    file = tmp_path / "usual.safetensors"
    model = tbft.load(network(), mean=0.5, std=0.5, image_size=SIDE)
    model.save(file)
    images = torch.randint(0, 255, (5, 3, SIDE, SIDE), dtype=torch.uint8)
    assert tbft.load(file).predict(images) == model.predict(images)
    other = chain_of(network(lambda net: net.fc.weight.data.mul_(1.05)), image_size=SIDE)
    save_weights(other, file, ())
    assert len(read_weights(str(file)).probe) == 3 and tbft.load(file).classes == ()


def test_networks_that_are_told_from_their_keys_alone_need_no_proof(tmp_path):
    chain = build("resnet8", num_classes=3, image_size=16, width=8)
    save_weights(chain, tmp_path / "own.safetensors", ())
    assert read_weights(str(tmp_path / "own.safetensors")).probe == ()
