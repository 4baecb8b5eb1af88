"""`python -m tbft study`."""

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

FLAGS = {  # options of Execution that are given without a value, or as --no_...
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
        address: Of the Ray cluster; by default one on this machine, or a new one.
        cpus: CPUs of a cell on a Ray cluster, also in part.
        gpus: GPUs of a cell on a Ray cluster, also in part.
        wandb: Log cells, table and figures to W&B, in one group of the study's name.
        isolate: A process for each cell, not one for all.
        share_machine: Let cells run on one machine at once, and mark their records.
        resume: Go on with a ledger that a study has used before.
        plan: List the cells and run none.
        share: One of several shares of the cells, such as `1/2`, each with a `root` of its own: for processes or
            machines that work at the same time. `report` takes the folder that holds all roots.
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
    """Takes the file of a study, and says what the configuration of one run is for."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Read the file.

        Raises:
            BadInput: If it is the configuration of one run, or as for `PresetConfig`.
        """
        content = read_yaml_file(find(values))
        if isinstance(content, dict) and "grid" not in content and (found := [*SECTIONS.keys() & content.keys()]):
            raise BadInput(
                f"{values} has a section {min(found)} and no grid: it is for python -m tbft fit --config {values}, "
                "and a study names it in its grid"
            )
        super().__call__(parser, cfg, values, option_string)


def main_study(args: list[str], runner: str) -> int:
    """Run or take up a study, then print its tables and write its report.

    Args:
        args: The command line after `study`.
        runner: `module:function` that runs a command line and returns its exit code; cells may run it in processes
            of their own.

    Returns:
        0 when every cell is completed, 1 when one failed, 130 or 143 when a cell was interrupted.

    Raises:
        BadInput: When the study, its options or its ledger cannot be used.
        KeyboardInterrupt: When interrupted; the same command goes on from there.
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
    """Do what `main_study` promises, with any parser check and any runner of cells.

    Args:
        study: The study.
        how: How its cells are run.
        check: Raises BadInput on arguments that `fit` does not know.
        runner: `module:function` that runs a command line.
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
    """Parser of `python -m tbft study`."""
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
    """Where a cell stands in W&B (the study's group, its tags), and no picture of each cell's power."""
    import json

    from tbft.study.running.cell_tags import tags_of

    plot = [] if "--energy.plot" in cell.arguments else ["--energy.plot", "false"]
    return [*plot, "--run.wandb", mode, "--run.group", study.name, "--run.tags", json.dumps(tags_of(cell))]
