"""Ways to run the cells of a study: in this process, in a process each, or on a Ray cluster."""

from tbft.study.running.executors.job import Executor, Job, Outcome

__all__ = ["Executor", "Job", "Outcome"]
