"""Diagnosis of drift with evidence and advice, from the same numpy arrays as the remedies; torch is never imported."""

from tbft.diagnosis.diagnosis import Diagnosis, diagnose
from tbft.diagnosis.findings import Finding

__all__ = ["Diagnosis", "Finding", "diagnose"]
