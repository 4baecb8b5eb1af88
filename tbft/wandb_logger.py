"""Weights & Biases, offline unless the user wants otherwise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger


class RunLogger(WandbLogger):
    """Logs a run to Weights & Biases, into the run's own folder.

    Offline it opens no connection, not even to look a name up; ``wandb leet`` browses the files, ``wandb sync``
    uploads them.

    Args:
        folder: the run's folder.
        name: of the run.
        project: that the run belongs to.
        offline: whether to write files only.
        group: that the run belongs to, such as a study.
        tags: labels of the run.
    """

    def __init__(
        self, folder: Path, name: str, project: str, offline: bool, group: str | None, tags: list[str]
    ) -> None:
        # wandb reads these when it is imported, so they come first.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        if offline:
            os.environ["WANDB_MODE"] = "offline"
        import wandb

        settings: dict[str, Any] = {"silent": True, "console": "off"}
        if offline:
            settings |= {
                "x_disable_stats": True,
                "x_disable_meta": True,
                "x_disable_machine_info": True,
                "disable_git": True,
                "disable_code": True,
                "x_save_requirements": False,
            }
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            name=name,
            project=project,
            save_dir=folder.resolve(),  # wandb's service keeps the working folder that it was started in
            offline=offline,
            group=group,
            tags=tags,
            settings=wandb.Settings(mode="offline" if offline else "online", **settings),
        )
        self._wandb_init.pop("anonymous", None)  # Lightning passes it on even if nobody gave it, and wandb warns

    def finish(self, result: dict[str, Any]) -> None:
        """Log a run's record as its summary, flat (``accuracy.test``, ``joules.train``, ...), and close the run."""
        import wandb

        self.experiment.summary.update(flat(result))
        wandb.finish()


def flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested record with dotted keys; lists are left out, for they are logged as curves."""
    leaves: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            leaves[prefix + key] = value
    return leaves
