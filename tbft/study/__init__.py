"""Studies: a grid of personalizations, its ledger on disk, and the tables and figures made from it."""

from tbft.study.command import main_report, main_study

__all__ = ["main_report", "main_study"]
