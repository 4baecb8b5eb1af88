"""A ledger as studies leave it, and a stand-in for `fit` that writes one of its records in no time."""

import json
import os
import random
import signal
import time
import zlib
from pathlib import Path
from typing import Any

LOG = "STAND_IN_LOG"  # names the file to which each cell that starts writes its name
HOLD = "STAND_IN_HOLD"  # the how manieth cell to start never ends by itself; its process writes its id to `held`
BASE = {"input": 0.40, "feature": 0.50, "output": 0.05}
BLOCKS = ["block1", "block2", "block3", "fc"]
OWN = {"input": "block1", "feature": "block3", "output": "fc"}
COST = {"none": 0.1, "bn": 2, "block": 10, "block1": 30, "block2": 24, "block3": 18, "fc": 9, "tuned-full": 40}


def record(level: str, strategy: str, seed: int, train_size: int = 1000, **changes: Any) -> dict[str, Any]:
    """A record by the contract, its figures made up but the same at every call."""
    chance = random.Random(zlib.crc32(f"{level} {strategy} {seed} {train_size}".encode()))
    accuracy = BASE[level] + 0.2 + 0.05 * chance.random() + (0.1 if strategy in ("block", OWN[level]) else 0.0)
    joules = COST.get(strategy, 50) * (1 + 0.1 * chance.random()) * train_size / 1000
    phases = {"prepare": 0.2 * joules, "train": 0.6 * joules, "validate": 0.15 * joules, "save": 0.05 * joules}
    phases |= {"test": 1.0, "adaptation": joules}
    blocks = [OWN[level]] if strategy == "block" else strategy.split("+") if strategy[:2] in ("bl", "fc") else BLOCKS
    return {
        "schema": 1,
        "status": "completed",
        "name": f"{level}-{strategy}-{seed}",
        "config_hash": "0123",
        "seed": seed,
        "dataset": f"{level}-data",
        "drift": {"level": level, "name": "noise", "severity": 5},
        "strategy": strategy,
        "blocks": blocks,
        "level_block": OWN[level],
        "statistics": "refresh",
        "train_size": train_size,
        "accuracy": {"base": BASE[level], "validation": accuracy + 0.01, "test": accuracy},
        "kept": "adapted",
        "joules": phases,
        "cpu_seconds": {name: value / 4 for name, value in phases.items()},
        "wall_seconds": {name: value / 8 for name, value in phases.items()},
        "process": {
            "since": "process start",
            "until": "record",
            "cpu_seconds": joules / 4 + 6,
            "wall_seconds": joules / 8 + 7,
            "joules": joules + 30,
            "mean_watts": 4.0,
            "peak_rss_mib": 500 + 10 * joules,
            "test": {"cpu_seconds": 0.5, "wall_seconds": 0.5, "joules": 2.0},
        },
        "energy_source": {"cpu": "model:cpu_load", "ram": "model", "gpu": "none", "measured": False},
        "peak_rss_mib": 500 + 10 * joules,
        "curve": [
            {
                "epoch": epoch,
                "step": 8 * epoch,
                "validation_accuracy": BASE[level] + (accuracy + 0.01 - BASE[level]) * epoch / 3,
                "joules": joules * epoch / 3,
            }
            for epoch in range(1, 4)
        ],
        "environment": {"torch": "2", "python": "3", "device": "cpu", "threads": 2, "machine": "board-a"},
        **changes,
    }


def write_record(root: Path, name: str, content: dict[str, Any]) -> Path:
    """Write a record where a ledger has it."""
    path = root / name / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".staged")
    staged.write_text(json.dumps(content))
    staged.replace(path)
    return path


def write_ledger(root: Path, sizes: tuple[int, ...] = (1000,), seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    """Three levels, single blocks, TBFT and tuned full fine-tuning, each at every seed and size."""
    for level in OWN:
        for size in sizes:
            for strategy in ("none", "bn", "block", *BLOCKS, "tuned-full"):
                for seed in seeds:
                    name = f"{level}-{strategy}-n{size}-s{seed}"
                    write_record(root, name, record(level, strategy, seed, size))


def write_blocks(
    root: Path, level: str, size: int, seed: int, accuracies: dict[str, float], drift: str = "fog"
) -> None:
    """A record of each strategy with the test accuracy that it is given."""
    for strategy, accuracy in accuracies.items():
        tested = {"base": 0.1, "validation": 0.5, "test": accuracy}
        content = record(level, strategy, seed, size, accuracy=tested)
        content["drift"]["name"] = drift
        write_record(root, f"{level}{size}{seed}{strategy}{drift}", content)


def tables_of(root: Path) -> dict[str, Any]:
    """The tables of a ledger by name."""
    from tbft.study.reporting.ledger_reading import read_ledger
    from tbft.study.reporting.results import Results
    from tbft.study.reporting.tables import all_tables

    records, problems = read_ledger(root)
    return {table.name: table for table in all_tables(Results(records), problems)}


def first_row(root: Path, name: str) -> dict[str, Any]:
    """The first row of a table by its headings."""
    table = tables_of(root)[name]
    return dict(zip(table.columns, table.rows[0], strict=True))


def main(args: list[str]) -> int:
    """Stand in for `fit`: write a record, or misbehave as `--model.behave` says."""
    options = dict(zip(args[1::2], args[2::2], strict=True))
    root, name = Path(options["--run.root"]), options["--run.name"]
    configs = [Path(value).stem for option, value in zip(args[1::2], args[2::2], strict=True) if option == "--config"]
    with Path(os.environ.get(LOG, os.devnull)).open("a") as log:
        log.write(f"{name}\n")
    behave = options.get("--model.behave", "")
    print(f"running {name}")
    if behave == "fail":
        return 1
    if behave == "fail once" and not (root / f"{name}.tried").exists():
        (root / f"{name}.tried").touch()
        return 1
    if behave == "raise":
        raise RuntimeError("no such drift")
    if behave == "fill the disk":
        print("tbft: the run failed: OSError: [Errno 28] No space left on device")
        return 1
    if behave == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if behave == "interrupt":
        raise KeyboardInterrupt
    if HOLD in os.environ and len(Path(os.environ[LOG]).read_text().split()) == int(os.environ[HOLD]):
        Path("held").write_text(str(os.getpid()))
        while True:
            time.sleep(60)
    level = next(config for config in configs if config in OWN)
    strategy = next((config for config in reversed(configs) if config not in OWN), "block")
    seed = int(options.get("--seed_everything", 0))
    write_record(root, name, record(level, strategy, seed, int(options.get("--data.train_size", 1000))))
    return 0


def check(args: list[str]) -> None:
    """Stand in for the check of `fit` arguments: refuse one misspelt option."""
    from tbft.errors import BadInput

    if "--trainer.max_epoch" in args:
        raise BadInput("fit knows no option --trainer.max_epoch: did you mean --trainer.max_epochs")
