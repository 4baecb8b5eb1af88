"""Remedies that need no gradients: they work in numpy on features and logits of a sample and never import torch."""

from tbft.remedies.card import Moments, SourceCard, measure_card
from tbft.remedies.choice import Choice, Sign, Step
from tbft.remedies.choose import choose
from tbft.remedies.evidence import Gain, Interval
from tbft.remedies.sample import REFRESHED, SOURCE, Head, Sample

__all__ = [
    "REFRESHED",
    "SOURCE",
    "Choice",
    "Gain",
    "Head",
    "Interval",
    "Moments",
    "Sample",
    "Sign",
    "SourceCard",
    "Step",
    "choose",
    "measure_card",
]
