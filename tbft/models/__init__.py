"""Networks as chains of blocks, and the weights of base models."""

from tbft.models.base_weights import (
    METADATA,
    BaseWeights,
    find_weights,
    metadata_of,
    read_weights,
    save_weights,
)
from tbft.models.chain import LEVELS, BlockChain
from tbft.models.preact_resnet import PreActResNet
from tbft.models.torchvision_resnet import TorchvisionResNet
from tbft.models.weights_fit import check_network, load_weights
from tbft.models.zoo import build, describe

__all__ = [
    "LEVELS",
    "METADATA",
    "BaseWeights",
    "BlockChain",
    "PreActResNet",
    "TorchvisionResNet",
    "build",
    "check_network",
    "describe",
    "find_weights",
    "load_weights",
    "metadata_of",
    "read_weights",
    "save_weights",
]
