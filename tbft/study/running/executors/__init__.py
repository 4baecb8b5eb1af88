"""Executors of the cells of a study: in this process, in a process for each cell, or on a Ray cluster."""

from tbft.study.running.executors.job import Executor, Job, Outcome

__all__ = ["Executor", "Job", "Outcome"]
