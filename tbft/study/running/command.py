"""The command `python -m tbft study`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ActionYesNo, ArgumentParser

from tbft.command_line.preset_option import PresetConfig
from tbft.errors import BadInput
from tbft.options.catalogue import SECTIONS
from tbft.options.presets import find
from tbft.schema import DONE, FAILED
from tbft.study.reporting.command import parse_arguments, print_report
from tbft.study.running.executors import Executor
from tbft.study.running.fit_parser import Check, check_arguments
from tbft.study.running.grid import Cell, Study
from tbft.study.running.share import check_root, share_of
from tbft.yaml_file import read_yaml_file

FLAGS = {  # options of Execution without a value, also with --no_ before their names
    "isolate": "A process for each cell, not one for all.",
    "share_machine": "Let cells run on one machine at once, and mark their records.",
    "resume": "Go on with a ledger that a study has used before.",
    "plan": "List the cells and run none.",
}


@dataclass
class Execution:
    """How the cells of a study are run.

    Args:
        executor: `local` on this machine, or `ray` on a cluster.
        workers: Cells at a time on this machine; more than one needs `isolate` and `share_machine`.
        retries: How often a failed cell is run again within one study.
        address: Address of the Ray cluster; by default one on this machine, or a new one.
        cpus: CPUs of a cell on a Ray cluster; may be a fraction.
        gpus: GPUs of a cell on a Ray cluster; may be a fraction.
        wandb: Log cells, tables and figures to W&B, in a group with the study's name.
        isolate: A process for each cell, not one for all.
        share_machine: Let cells run on one machine at once, and mark their records.
        resume: Go on with a ledger that a study has used before.
        plan: List the cells and run none.
        share: Run one of several shares of the cells, such as `1/2`, each with a `root` of its own, so that processes
            or machines can work at the same time. `report` takes the folder that holds all roots.
    """

    executor: Literal["local", "ray"] = "local"
    workers: int = 1
    retries: int = 0
    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    wandb: Literal["off", "offline", "online"] = "off"
    isolate: bool = False
    share_machine: bool = False
    resume: bool = True
    plan: bool = False
    share: str | None = None


class _StudyFile(PresetConfig):
    """The action of `--config`: takes the file of a study, and refuses the configuration of one run."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Read the file.

        Raises:
            BadInput: If it is the configuration of one run, or for the reasons of `PresetConfig`.
        """
        content = read_yaml_file(find(values))
        if isinstance(content, dict) and "grid" not in content and (found := [*SECTIONS.keys() & content.keys()]):
            raise BadInput(
                f"{values} has a section {min(found)} and no grid: it is for python -m tbft fit --config {values}, "
                "and a study names it in its grid"
            )
        super().__call__(parser, cfg, values, option_string)


def main_study(args: list[str], runner: str) -> int:
    """Run or resume a study, then print its tables and write its report.

    Args:
        args: The command line after `study`.
        runner: `module:function` that runs a command line and returns its exit code; it may be run in a process for
            each cell.

    Returns:
        0 when every cell is completed; 1 when one failed, or has a record of another version of tbft; 130 or 143 when a
        cell was interrupted.

    Raises:
        BadInput: When the study, its options or its ledger cannot be used.
        KeyboardInterrupt: When this process is interrupted; the same command goes on from there.
    """
    try:
        given = parse_arguments(study_parser(), args)
    except BadInput as error:
        advice = ": give --config study/quick.yaml, or a file of your own" if "are required" in str(error) else ""
        raise BadInput(f"{error}{advice}") from None
    study = Study(**{name: given[name] for name in Study.__dataclass_fields__})
    study.root = Path(study.root)
    how = Execution(**{name: given[name] for name in Execution.__dataclass_fields__})
    try:
        return execute(study, how, check_arguments, runner)
    except KeyboardInterrupt as interrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        if interrupt.args:
            return int(interrupt.args[0])
        raise


def execute(study: Study, how: Execution, check: Check, runner: str) -> int:
    """Do what `main_study` does, with a given check of arguments and runner of cells.

    Args:
        study: The study.
        how: Options on how its cells are run.
        check: A function that raises BadInput on arguments that `fit` does not accept.
        runner: `module:function` that runs a command line and returns its exit code.

    Returns:
        0 when every cell is completed, or only listed; 1 when one failed, or has a record of another version of tbft.
    """
    from rich.console import Console

    from tbft.study.running.progress import progress_bar
    from tbft.study.running.run import plan, run_study

    cells = plan(study, check)
    if how.share is not None:
        cells = share_of(cells, how.share)
        check_root(study.root, cells)
    if how.plan:
        for cell in cells:
            print(cell.key, *cell.arguments)
        return DONE
    console = Console(stderr=True)
    summary = run_study(
        study,
        cells,
        _executor(how, runner),
        resume=how.resume,
        retries=how.retries,
        shared=how.share_machine,
        extra=lambda cell: _recording_arguments(study, cell, how.wandb),
        progress=progress_bar,
    )
    for key in summary.foreign:
        console.print(f"left alone: {key} has a record of another version of tbft", markup=False)
    report = print_report(study.root)
    if how.wandb != "off":
        from tbft.study.running.wandb_study import log_study

        log_study(study.name, report, how.wandb)
    console.print(f"{summary.completed} of {len(cells)} cells completed, {summary.ran} ran now", highlight=False)
    return FAILED if summary.failed or summary.foreign else DONE


def study_parser() -> ArgumentParser:
    """Return the parser of `python -m tbft study`."""
    parser = ArgumentParser(
        prog="python -m tbft study",
        description="Run a grid of personalizations; started again, it goes on where it was.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", action=_StudyFile, help="The study, such as study/quick.yaml.")
    parser.add_class_arguments(Study)
    parser.add_class_arguments(Execution, skip=set(FLAGS))
    for name, told in FLAGS.items():
        parser.add_argument(f"--{name}", action=ActionYesNo, default=getattr(Execution, name), help=told)
    return parser


def _executor(how: Execution, runner: str) -> Executor:
    if how.workers < 1 or how.retries < 0:
        raise BadInput("workers must be at least 1 and retries at least 0")
    if how.executor == "ray":
        from tbft.study.running.executors.ray import RayExecutor

        return RayExecutor(runner, how.address, how.cpus, how.gpus, how.share_machine)
    if how.workers > 1 and not (how.isolate and how.share_machine):
        raise BadInput("workers above 1 share this machine: say so with --isolate --share_machine")
    if how.isolate:
        from tbft.study.running.executors.isolated import IsolatedExecutor

        return IsolatedExecutor(runner, how.workers)
    from tbft.study.running.executors.local import LocalExecutor

    return LocalExecutor(runner)


def _recording_arguments(study: Study, cell: Cell, mode: str) -> list[str]:
    """Return arguments for W&B (mode, the study's group, the cell's tags), and to draw no picture of a cell's power."""
    import json

    from tbft.study.running.cell_tags import tags_of

    plot = [] if "--energy.plot" in cell.arguments else ["--energy.plot", "false"]
    return [*plot, "--run.wandb", mode, "--run.group", study.name, "--run.tags", json.dumps(tags_of(cell))]
