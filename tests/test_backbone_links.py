"""Links of a traced network keep to themselves: no mode, no statistics and no memory that another link works on."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tbft.adaptation.freezing import refresh_statistics
from tbft.data.batches import Examples
from tbft.errors import BadInput
from tbft.models.classifier import PlainClassifier
from tbft.models.statistics import set_modes
from tbft.models.traced import chain_of

IMAGES = torch.randn((8, 3, 16, 16), generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    def __init__(self, channels, drop):
        super().__init__()
        self.conv, self.drop = nn.Conv2d(channels, channels, 3, padding=1), drop

    def forward(self, x):
        return x + self.drop(F.relu(self.conv(x)))


class Network(nn.Module):
    """Two residual stages that share one module, and what comes behind them."""

    def __init__(self, shared=None, head=None, behind=None):
        super().__init__()
        self.shared = shared or nn.Identity()
        self.stem, self.front = nn.Conv2d(3, 8, 3, 2, padding=1), Residual(8, self.shared)
        self.down, self.back = nn.Conv2d(8, 8, 3, 2, padding=1), Residual(8, self.shared)
        self.readout, self.behind = head or nn.Linear(8, 4), behind or nn.Identity()

    def pool(self, x):
        return x.mean((2, 3))

    def forward(self, images):
        return self.behind(self.readout(self.pool(self.back(self.down(self.front(self.stem(images)))))))


def test_a_dropout_that_two_blocks_share_drops_only_where_its_block_trains():
    chain = chain_of(Network(nn.Dropout(0.5)), image_size=16)
    for trained, frozen in (("block2", "block1"), ("block1", "block2")):
        set_modes(chain, [trained])
        for link, changes in ((trained, True), (frozen, False)):
            x = IMAGES if link == "block1" else IMAGES.new_ones((8, 8, 8, 8))
            stop = chain.links[chain.links.index(link) + 1]
            assert torch.equal(chain(x, start=link, stop=stop), chain(x, start=link, stop=stop)) != changes
    chain.eval()
    assert torch.equal(chain(IMAGES), chain.network.eval()(IMAGES))
    assert list(chain.state_dict()) == list(chain.network.state_dict())


def test_links_that_share_a_norm_without_parameters_are_one_link():
    chain = chain_of(Network(nn.BatchNorm2d(8, affine=False)), image_size=16)
    assert chain.blocks == ("block1", "fc")  # its statistics would follow the block that trains


@pytest.mark.parametrize("common", ["Dropout", "Conv2d", "Parameter"])
def test_blocks_named_by_hand_that_share_what_only_one_may_train_are_refused(common):
    first, second, drop = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), nn.Dropout(0.5)
    if common == "Parameter":
        second.weight = first.weight
    front = nn.Sequential(first, drop)
    back = {"Dropout": [second, drop], "Conv2d": [first], "Parameter": [second]}[common]
    network = nn.Sequential(front, nn.Sequential(*back), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    with pytest.raises(BadInput, match=f"block1 and block2 share a {common}: give each its own"):
        chain_of(network, image_size=16, blocks={"block1": ["0"], "block2": ["1"], "pool": ["2"], "fc": ["4"]})


class FlatReLU(Network):
    """Writes into its features through a view of them."""

    def pool(self, x):
        return F.relu(x.flatten(1), inplace=True).view(x.shape[0], 8, -1).mean(2)


def test_no_link_writes_into_what_it_gets():
    chain = chain_of(FlatReLU(), image_size=16).eval()
    for link in chain.links[1:]:
        features = chain(IMAGES, stop=link).detach()
        before = features.clone()
        chain(features, start=link)
        assert torch.equal(features, before)


@pytest.mark.parametrize("case", ["norm behind the head", "norm in the head's link"])
def test_refreshed_statistics_are_those_of_every_norm(case):
    norm = nn.BatchNorm1d(4, affine=False)
    if case == "norm behind the head":
        chain = chain_of(Network(behind=norm), image_size=16)
    else:
        layers = [nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), norm, nn.Linear(4, 4)]
        chain = chain_of(nn.Sequential(*layers), image_size=16, blocks={"block1": ["0", "1", "2"], "fc": ["3", "4"]})
    classifier = PlainClassifier()
    classifier.model = chain
    entering = []
    norm.register_forward_hook(lambda module, args, output: entering.append(args[0]))
    train = Examples(torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8), torch.zeros(40, dtype=torch.int64))
    refresh_statistics(classifier, train, seed=0)
    assert torch.allclose(norm.running_mean, entering[-1].mean(0), atol=1e-5)
    assert torch.allclose(norm.running_var, entering[-1].var(0), rtol=1e-4)


class Scaled(nn.Linear):
    def forward(self, x):
        return 10 * super().forward(F.normalize(x))


@pytest.mark.parametrize(
    "head", [nn.Linear(8, 4, bias=False), Scaled(8, 4), nn.utils.parametrizations.weight_norm(nn.Linear(8, 4))]
)
def test_a_head_that_is_more_or_less_than_a_linear_layer_with_a_bias_is_not_solved(head):
    assert not chain_of(Network(head=head), image_size=16).linear_head
    assert chain_of(Network(), image_size=16).linear_head


class Untrainable(Network):
    def pool(self, x):
        first, second = x.chunk(2, 1)
        return torch.cat([first.mul_(2), second], 1).mean((2, 3))


def test_a_network_without_gradients_is_refused_with_the_reason():
    with pytest.raises(BadInput, match=r"Untrainable has no gradients .*view") as refused:
        chain_of(Untrainable(), image_size=16)
    assert len(str(refused.value).splitlines()) == 1
