"""The version of tbft; a bundle carries it to devices."""

__version__ = "0.1.0"
