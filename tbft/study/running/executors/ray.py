"""An executor that runs cells as tasks of a Ray cluster. Its machines need tbft, but no shared disk."""

import os
import socket
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tbft import atomic
from tbft.errors import BadInput
from tbft.options.presets import find
from tbft.schema import FAILED, RESULT_FILE
from tbft.study.running.executors.job import STOPPED, Job, Outcome, call, output_to, reason_in

Files = dict[str, bytes]


class RayExecutor:
    """Runs cells on the machines of a Ray cluster.

    Args:
        runner: `module:function` that runs a command line.
        address: Address of the cluster, or `auto` for one on this machine; None for one on this machine or else a new
            one.
        cpus: CPUs of a cell; may be a fraction.
        gpus: GPUs of a cell; may be a fraction.
        share_machine: Whether cells may share a machine; if not, a cell has all CPUs of its machine to itself.

    Raises:
        BadInput: When Ray is not installed or the cluster cannot be reached.
    """

    def __init__(
        self,
        runner: str,
        address: str | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
        share_machine: bool = False,
    ) -> None:
        try:
            import ray
        except ImportError:
            raise BadInput("Ray is not installed: pip install 'tbft[ray]', or use --executor local") from None
        self.runner, self.cpus, self.gpus, self.share_machine = runner, cpus, gpus, share_machine
        self._ray: Any = ray
        try:
            _check_address(address)
            ray.init(address, ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or ["no answer"])[0]
            raise BadInput(
                f"no Ray cluster at {address or 'this machine'} ({reason}): start one with `ray start --head`"
            ) from None

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Give the jobs to machines as these become free, and yield each outcome when its job ends.

        Raises:
            BadInput: When no machine in the cluster has the CPUs and GPUs that a cell needs.
            KeyboardInterrupt: When a cell was interrupted.
        """
        waiting, running = deque(jobs), dict[Any, tuple[Job, dict[str, Any]]]()
        free = deque(self._places())
        try:
            while waiting or running:
                while waiting and free:
                    job, place = waiting.popleft(), free.popleft()
                    running[self._submit(job, place)] = (job, place)
                (done,), _ = self._ray.wait(list(running), num_returns=1)
                job, place = running.pop(done)
                outcome = self._collect(done, job)
                if outcome.code in STOPPED:
                    raise KeyboardInterrupt(outcome.code)
                yield outcome
                if self.share_machine or place["node"] in {place["node"] for place in self._places()}:
                    free.append(place)
                elif not running:
                    free.extend(self._places())
        finally:
            for task in running:
                self._ray.cancel(task)

    def _places(self) -> list[dict[str, Any]]:
        """Return places for cells: as many as fit if they share machines, else one for each machine of the cluster.

        Raises:
            BadInput: When no machine in the cluster has the CPUs and GPUs that a cell needs.
        """
        nodes = [n for n in self._ray.nodes() if n["Alive"] and self._fits(n["Resources"])]
        if not nodes:
            raise BadInput(f"no machine in the cluster has {self.cpus} CPUs and {self.gpus} GPUs: ask less")
        if self.share_machine:
            return [{"node": None, "cpus": self.cpus} for n in nodes for _ in range(self._share(n["Resources"]))]
        machines = {n["NodeManagerHostname"]: n for n in nodes}
        return [{"node": n["NodeID"], "cpus": n["Resources"]["CPU"]} for n in machines.values()]

    def _fits(self, resources: dict[str, float]) -> bool:
        return resources.get("CPU", 0) >= self.cpus and resources.get("GPU", 0) >= self.gpus

    def _share(self, resources: dict[str, float]) -> int:
        shares = [resources["CPU"] / self.cpus] if self.cpus else []
        shares += [resources["GPU"] / self.gpus] if self.gpus else []
        return max(1, int(min(shares, default=1)))

    def _submit(self, job: Job, place: dict[str, Any]) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        node = place["node"]
        where = NodeAffinitySchedulingStrategy(node, soft=False) if node else "SPREAD"
        task = self._ray.remote(run_cell).options(
            num_cpus=place["cpus"], num_gpus=self.gpus, max_retries=0, scheduling_strategy=where
        )
        arguments, configs = carry_configs(job.arguments)
        return task.remote(self.runner, arguments, configs, str(Path.cwd()))

    def _collect(self, task: Any, job: Job) -> Outcome:
        """Write a cell's files into the ledger, its record last, and return its outcome."""
        from ray.exceptions import RayError

        try:
            code, reason, files, log = self._ray.get(task)
        except RayError as error:
            said = str(getattr(error, "cause", None) or error).strip().splitlines() or ["no reason given"]
            return Outcome(job, FAILED, f"its worker failed: {said[-1]}")
        job.log.write_text(log)
        folder = job.root / job.cell.key
        for name in sorted(files, key=lambda name: name == RESULT_FILE):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(target, files[name])
        return Outcome(job, code, (reason or reason_in(log, code)) if code else "")


def _check_address(address: str | None) -> None:
    """Check that the address answers, because Ray itself gives up only after minutes.

    Raises:
        OSError: When the address does not answer.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()


def carry_configs(arguments: Sequence[str]) -> tuple[list[str], Files]:
    """Replace the file of each `--config` by one that is sent to the worker, which may not have it.

    Returns:
        The changed arguments, and the contents of the files by their names in these arguments.
    """
    carried, files = list(arguments), Files()
    for index, argument in enumerate(arguments[:-1]):
        if argument == "--config":
            source = find(arguments[index + 1])
            name = f"{len(files)}/{source.name}"
            files[name] = source.read_bytes()
            carried[index + 1] = name
    return carried, files


def run_cell(runner: str, arguments: list[str], configs: Files, folder: str) -> tuple[int, str, Files, str]:
    """Run one cell on a worker, in a scratch folder.

    Args:
        runner: `module:function` that runs a command line.
        arguments: The command line, with the names in `configs` as its configuration files.
        configs: Contents of the configuration files by name.
        folder: The study's working folder; the worker uses it for relative paths of data, if it has it too.

    Returns:
        Exit code, the exception in one line (or empty), files of the run without its checkpoints, and what it printed.
    """
    if Path(folder).is_dir():
        os.chdir(folder)
    with tempfile.TemporaryDirectory(prefix="tbft-cell-") as scratch:
        here = Path(scratch)
        for name, content in configs.items():
            (here / name).parent.mkdir()
            (here / name).write_bytes(content)
        placed = [str(here / part) if part in configs else part for part in arguments]
        placed[placed.index("--run.root") + 1] = str(here / "runs")
        log = here / "log"
        with output_to(log):
            code, reason = call(runner, placed)
        run = here / "runs" / arguments[arguments.index("--run.name") + 1]
        kept = [path for path in sorted(run.rglob("*")) if path.is_file() and path.suffix != ".ckpt"]
        files = {str(path.relative_to(run)): path.read_bytes() for path in kept}
        return code, reason, files, log.read_text(errors="replace")
