"""Options of a run: its folder, its name, and how it is recorded."""

from __future__ import annotations

import os
import re
import unicodedata
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tbft.errors import BadInput, check_at_least
from tbft.paths import user_path
from tbft.runs.folder import FolderInUse, RunFolder, status_of

if TYPE_CHECKING:
    from tbft.data.labelled import LabelledData

_LONGEST_NAME = 255  # bytes, the limit of every common file system


@dataclass
class RunSettings:
    """Where and under which name a run is recorded.

    Attributes:
        root: folder of all runs; each run has a folder of its own in it.
        name: name of this run; ``None`` makes one from data, drift, strategy, training size and seed, with a number
            behind it if an older run has that name.
        overwrite: let this run replace a completed run of the same name.
        group: group of the run in Weights & Biases, such as a study.
        tags: further tags in Weights & Biases, beside level, data set, strategy and blocks.
        wandb: ``offline`` writes Weights & Biases files to the run's folder, ``online`` sends them, ``auto`` is
            online if the user is logged in, ``off`` writes none.
        project: project of the run in Weights & Biases.
        test: measure accuracy on the test images, before and after (booked apart from the adaptation).
        checkpoint_every: epochs between two checkpoints; a larger number writes less to an SD card, but an interrupted
            run loses up to this many epochs.
        threads: number of threads that torch computes with, at most one for each core; ``None`` leaves it to torch
            (all cores, or ``OMP_NUM_THREADS``).
    """

    root: str = "runs"
    name: str | None = None
    overwrite: bool = False
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    wandb: Literal["auto", "offline", "online", "off"] = "auto"
    project: str = "tbft"
    test: bool = True
    checkpoint_every: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        """Check the name and ``checkpoint_every``.

        Raises:
            BadInput: if ``name`` is not the name of a folder directly in ``root``, or ``checkpoint_every`` is below 1.
        """
        check_at_least(1, "run", checkpoint_every=self.checkpoint_every)
        if self.name is not None:
            _check_name(self.name)

    def claim(self, default_name: str, held: ExitStack, *, resume: bool) -> RunFolder:
        """Return the folder of this run, locked against other runs as long as ``held`` is open.

        If two runs without a given name start at the same time, each gets a folder of its own.

        Args:
            default_name: name of the run if ``name`` is ``None``.
            held: stack of contexts that releases the lock when it is closed.
            resume: go on with the newest run of that name instead of starting a new one.

        Raises:
            FolderInUse: if another run works in the folder.
            BadInput: see ``folder`` and ``RunFolder.locked``.
        """
        while True:
            folder = RunFolder(self.folder(default_name, resume=resume))
            try:
                held.enter_context(folder.locked())
            except FolderInUse:
                if self.name is not None or resume or self.overwrite:
                    raise
                continue
            return folder

    def folder(self, default_name: str, *, resume: bool = False) -> Path:
        """Return the path of this run's folder, which need not exist yet.

        Args:
            default_name: name of the run if ``name`` is ``None``.
            resume: go on with the newest run of that name instead of starting a new one.

        Raises:
            BadInput: if the name is not that of a folder, the folder cannot be written, or it holds a completed run
                that is neither resumed nor may be overwritten.
        """
        _check_name(self.name or default_name)
        root = user_path(self.root)
        folder = root / (self.name or default_name)
        if self.name is None:
            older = _numbered(root, default_name)
            if resume and older:
                folder = older[max(older)]
            elif older and not self.overwrite:
                folder = root / f"{default_name}.{max(older) + 1}"
        elif not resume and not self.overwrite and status_of(folder) == "completed":
            raise BadInput(f"{folder} holds a completed run: choose another run.name, or give --run.overwrite true")
        _check_writable(folder)
        return folder

    def use_threads(self) -> None:
        """Let torch compute with ``threads`` threads from now on, at most one for each core.

        Raises:
            BadInput: if ``threads`` is below 1.
        """
        if self.threads is None:
            return
        if self.threads < 1:
            raise BadInput(f"run.threads is {self.threads}: it must be at least 1")
        import torch

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(min(self.threads, cores))

    @property
    def wandb_offline(self) -> bool:
        """Whether Weights & Biases must not open a connection."""
        if self.wandb == "auto":
            from tbft.runs.wandb_logger import is_logged_in

            return not is_logged_in()
        return self.wandb != "online"


def default_name(data: LabelledData, strategy: str, seed: int) -> str:
    """Return a name like ``digits-gaussian_noise5-block-n200-s0``: data, drift, strategy, training size and seed."""
    drift = data.drift
    what = "source" if drift.is_source else f"{drift.name}{drift.severity or ''}"
    parts = [data.name, what, strategy]
    parts += [f"n{data.train_size}"] if data.train_size else []
    return "-".join([*parts, f"s{seed}"]).replace(":", "")


def _check_name(name: str) -> None:
    """Check that a run's name can be a folder's: not empty, no path, no control characters, at most 255 bytes."""
    length = len(os.fsencode(name))
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        wrong = "is no name for a folder in run.root"
    elif any(unicodedata.category(character) == "Cc" for character in name):
        wrong = "has a line break or another control character"
    elif length > _LONGEST_NAME:
        wrong = f"has {length} bytes, and a folder's name at most {_LONGEST_NAME}"
    else:
        return
    shown = name if len(name) <= 60 else name[:57] + "..."
    raise BadInput(f"run.name {shown!r} {wrong}: give another")


def _numbered(root: Path, name: str) -> dict[int, Path]:
    """Return the folders of the runs of one name by their number: ``name`` is 1, ``name.2`` is 2, and so on."""
    numbered = re.compile(rf"{re.escape(name)}(?:\.([0-9]+))?")
    matches = ((numbered.fullmatch(path.name), path) for path in root.glob("*") if path.is_dir())
    return {int(match[1] or 1): path for match, path in matches if match}


def _check_writable(folder: Path) -> None:
    """Check that a folder can be made and written, without making anything."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise BadInput(f"{folder} cannot be written ({existing} does not allow it): choose another run.root")
