"""Data sets, one a file, and the drifts between source and target domain."""

from tbft.data.breeds import Breeds
from tbft.data.cifar10 import CIFAR10
from tbft.data.cifar10c import CIFAR10C
from tbft.data.digits import Digits
from tbft.data.domain import DomainData
from tbft.data.drift import Drift
from tbft.data.folder import Folder

__all__ = ["CIFAR10", "CIFAR10C", "Breeds", "Digits", "DomainData", "Drift", "Folder"]
