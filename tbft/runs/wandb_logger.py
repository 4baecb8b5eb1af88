"""The logger to Weights & Biases, whose failures never fail a run."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from tbft.startup.postponed_imports import BY_WANDB, postponed_imports

log = logging.getLogger(__name__)

_REACH_SECONDS = 10.0
"""Longest wait for the server before a run goes on offline; the variable ``WANDB_INIT_TIMEOUT`` overrides it."""
_UPLOAD_SECONDS = 60.0
"""Longest wait for the rest of the upload after a run."""
_REASON_CHARACTERS = 200
_OFFLINE_SETTINGS: dict[str, Any] = {
    "mode": "offline",
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "disable_git": True,
    "disable_code": True,
    "x_save_requirements": False,
}


class RunLogger(Logger):
    """Logs a run to Weights & Biases, into the run's own folder.

    Offline it opens no connection, not even to look up a host name; ``wandb leet`` browses the files, ``wandb sync``
    uploads them. A run that should be online and cannot be (no network, no credentials) goes on offline. Any other
    failure of Weights & Biases ends the tracking with one line of warning, and the run goes on without it.

    Args:
        folder: the run's folder.
        name: name of the run.
        project: project that the run belongs to.
        offline: whether to write files only.
        group: group that the run belongs to, such as a study; ``None`` for no group.
        tags: tags of the run.
    """

    def __init__(
        self, folder: Path, name: str, project: str, offline: bool, group: str | None, tags: list[str]
    ) -> None:
        super().__init__()
        # wandb reads its environment variables when it is imported or set up: they are set before.
        _set_environment()
        if offline:
            os.environ["WANDB_MODE"] = "offline"
        self._folder = folder.resolve()  # wandb's service keeps the working folder of its start
        self._run_name, self._project, self._group, self._tags = name, project, group, tags
        self._offline = offline
        self._wandb: WandbLogger | None = None
        self._written: Path | None = None
        self._failed = False

    @property
    def name(self) -> str:
        """The project's name."""
        return self._project

    @property
    def version(self) -> str:
        """An empty text: the progress bar would show the end of a version, and the run has a name already."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self._folder)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log the figures of one training step."""
        self._attempt(lambda wandb_logger: wandb_logger.log_metrics(metrics, step))

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log the configuration."""
        self._attempt(lambda wandb_logger: wandb_logger.log_hyperparams(params))

    @rank_zero_only
    def log_image(self, key: str, images: list[Any]) -> None:
        """Log pictures under a key; they are arrays, PIL pictures or files."""
        self._attempt(lambda wandb_logger: wandb_logger.log_image(key, images))

    @rank_zero_only
    def finish(self, result: dict[str, Any]) -> None:
        """Log a run's record as its summary, flat (``accuracy.test``, ``joules.train``, ...), and close the run."""

        def close(wandb_logger: WandbLogger) -> None:
            wandb_logger.experiment.summary.update(flat(result))
            wandb_logger.experiment.finish()

        self._attempt(close)

    def _attempt(self, action: Callable[[WandbLogger], object]) -> None:
        """Do something with the run at Weights & Biases, opened first if need be; a failure ends the tracking only."""
        if self._failed:
            return
        try:
            with postponed_imports(BY_WANDB):
                if self._wandb is None:
                    self._wandb = self._open_run()
                action(self._wandb)
        except Exception as error:  # a full disk, a killed service: wandb may raise anything
            self._failed = True
            rest = f"; `wandb sync {self._written}` uploads what it wrote" if self._written else ""
            log.warning("Weights & Biases failed (%s): the run goes on without it%s", _reason(error), rest)
            with suppress(Exception, SystemExit):
                _end_service()  # else it would write a traceback to the terminal at the interpreter's exit

    def _open_run(self) -> WandbLogger:
        """Open the run on the server; on disk only if it is to be offline or the server cannot be used."""
        if self._offline:
            return self._open(_OFFLINE_SETTINGS)
        earlier = self._online_folders()
        try:
            return self._open_online()
        except Exception as error:  # no network, no credentials, or the server refuses
            reason = _reason(error)
        for unused in self._online_folders() - earlier:
            shutil.rmtree(unused, ignore_errors=True)
        wandb_logger = self._open(_OFFLINE_SETTINGS)
        log.warning(
            "Weights & Biases is not online (%s): the run is logged offline; `wandb sync %s` uploads it later",
            reason,
            self._written,
        )
        return wandb_logger

    def _open_online(self) -> WandbLogger:
        if not is_logged_in():  # wandb would wait for the user to enter a key
            raise PermissionError("not logged in, see `wandb login`")
        settings: dict[str, Any] = {
            "mode": "online",
            "finish_timeout": _UPLOAD_SECONDS,
            "finish_timeout_raises": True,
        }
        if "WANDB_INIT_TIMEOUT" not in os.environ:
            settings["init_timeout"] = _REACH_SECONDS
        return self._open(settings)

    def _open(self, settings: dict[str, Any]) -> WandbLogger:
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        wandb_logger = WandbLogger(
            name=self._run_name,
            project=self._project,
            save_dir=self._folder,
            offline=settings["mode"] == "offline",
            group=self._group,
            tags=self._tags,
            settings=wandb.Settings(silent=True, console="off", **settings),
        )
        wandb_logger._wandb_init.pop("anonymous", None)  # Lightning always passes it, and wandb warns
        self._written = Path(wandb_logger.experiment.dir).parent
        return wandb_logger

    def _online_folders(self) -> set[Path]:
        return set((self._folder / "wandb").glob("run-*"))


def is_logged_in() -> bool:
    """Return whether Weights & Biases finds credentials on this machine, without a connection to its server."""
    if os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled"):
        return False
    _set_environment()
    import wandb

    try:
        return bool(wandb.login(verify=False, prompt=False))
    except wandb.Error:  # the key is malformed
        return False


def _set_environment() -> None:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    # The parent process may have left the address of a service that is gone.
    service = os.environ.get("WANDB_SERVICE", "").partition("-unix-")[2]
    if service and not Path(service).exists():
        del os.environ["WANDB_SERVICE"]
    # Without a writable cache, wandb's service writes its log to the terminal and a cache into the working folder.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", ""), ".cache"))
    if not cache.is_absolute() or not _is_writable(cache):
        os.environ["XDG_CACHE_HOME"] = tempfile.gettempdir()


def _is_writable(folder: Path) -> bool:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK | os.X_OK)
    return False


def _end_service() -> None:
    import wandb

    wandb.teardown()


def _reason(error: Exception) -> str:
    """Return the error's message, or its type without one, as one line."""
    return textwrap.shorten(str(error), _REASON_CHARACTERS, placeholder=" ...") or type(error).__name__


def flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested record with dotted keys, without its lists, which are logged as curves."""
    leaves: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            leaves[prefix + key] = value
    return leaves
