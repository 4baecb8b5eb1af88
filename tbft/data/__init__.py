"""Data sets, one a file, and the drifts between source and target domain."""

from tbft.data.digits import Digits
from tbft.data.domain import DomainData
from tbft.data.drift import Drift

__all__ = ["Digits", "DomainData", "Drift"]
