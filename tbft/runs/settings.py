"""Where a run is kept, and what it is called."""

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
    from tbft.adaptation.adaptation import Adaptation

_LONGEST_NAME = 255  # bytes, on every usual file system


@dataclass
class RunSettings:
    """Where and under which name a run is recorded.

    Attributes:
        root: folder of all runs; each run has a folder of its own in it.
        name: of this run; ``None`` makes one from data, drift, strategy, training size and seed, and never
            writes over an older run.
        overwrite: a run of this name that was completed may be replaced.
        group: groups runs in Weights & Biases, such as the cells of a study.
        tags: labels in Weights & Biases, beside level, strategy and data set.
        wandb: ``offline`` writes Weights & Biases files to the run's folder, ``online`` sends them, ``auto`` is
            online if the user is logged in, ``off`` writes none.
        project: in Weights & Biases.
        test: measure accuracy on the test images, before and after (booked apart from the adaptation).
        checkpoint_every: epochs between two checkpoints; a larger number spares an SD card, and an interrupted run
            loses up to so many epochs.
        threads: for torch to compute with, no more than there are cores; ``None`` leaves it to torch (all cores,
            or ``OMP_NUM_THREADS``).
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
        """Refuse a name that is no folder's, and numbers that make no sense.

        Raises:
            BadInput: if a run of that name would lie elsewhere than directly in ``root``.
        """
        check_at_least(1, "run", checkpoint_every=self.checkpoint_every)
        if self.name is not None:
            _check_name(self.name)

    def claim(self, default_name: str, held: ExitStack, *, resume: bool) -> RunFolder:
        """The folder of this run, locked against other runs as long as ``held`` is open.

        Two runs that start at once and are named by what they do get folders of their own.

        Args:
            default_name: name to use when none is given.
            held: releases the folder.
            resume: take up the newest run of that name instead of starting a new one.

        Raises:
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
        """The folder of this run, which need not exist yet.

        Args:
            default_name: name to use when none is given.
            resume: take up the newest run of that name instead of starting a new one.

        Raises:
            BadInput: if it cannot be written, or a completed run of the given name is there already.
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
        """Let torch compute with so many threads from now on.

        Raises:
            BadInput: if that is no number of threads.
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


def default_name(adaptation: Adaptation) -> str:
    """``digits-gaussian_noise5-block-n200-s0``: data, drift, strategy, training size, seed."""
    data, drift = adaptation.data, adaptation.data.drift
    what = "source" if drift.is_source else f"{drift.name}{drift.severity or ''}"
    parts = [data.name, what, adaptation.strategy]
    parts += [f"n{data.train_size}"] if data.train_size else []
    return "-".join([*parts, f"s{adaptation.seed}"]).replace(":", "")


def _check_name(name: str) -> None:
    """A run's name is that of one folder: not empty, no path, without control characters, at most 255 bytes."""
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
    """Folders of the runs of one name by number: ``name`` is the first, ``name.2`` the second, ..."""
    numbered = re.compile(rf"{re.escape(name)}(?:\.([0-9]+))?")
    matches = ((numbered.fullmatch(path.name), path) for path in root.glob("*") if path.is_dir())
    return {int(match[1] or 1): path for match, path in matches if match}


def _check_writable(folder: Path) -> None:
    """Find out without leaving anything behind."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise BadInput(f"{folder} cannot be written ({existing} does not allow it): choose another run.root")
