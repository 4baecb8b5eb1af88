"""CPU-seconds of whole processes: what starting costs beside adapting.

    python notebooks/startup.py [RUNS]

Each command runs RUNS times (5 unless given), the commands taking turns; medians are printed, and ratios of each pair
within a turn. One thread, so that no thread spins.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PERSONALIZE = """
import numpy, tbft
data = numpy.load("images.npz")
tbft.personalize("digits", data["x"], data["y"], level="output")
"""
COMMANDS = {
    "import tbft": ["-c", "import tbft"],
    "import torch": ["-c", "import torch"],
    "tbft.personalize, output level, digits": ["-c", PERSONALIZE],
    "import lightning.pytorch.cli": ["-c", "import lightning.pytorch.cli"],
    "fit --config output.yaml": ["-m", "tbft", "fit", "--config", "output.yaml", "--run.wandb", "offline"],
    "fit --config output.yaml --run.wandb off": ["-m", "tbft", "fit", "--config", "output.yaml", "--run.wandb", "off"],
}
PAIRS = {
    "tbft.personalize, output level, digits": "import torch",
    "fit --config output.yaml": "import lightning.pytorch.cli",
    "fit --config output.yaml --run.wandb off": "import lightning.pytorch.cli",
}


def cpu_seconds(arguments: list[str], folder: str) -> float:
    """CPU-seconds of one Python process, its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_images(file: Path) -> None:
    """Write 300 labelled digits with flipped labels, as ``fit --config output.yaml`` takes them."""
    import torch

    from tbft.data import Digits

    data = Digits(image_size=16, label_map="flip", train_size=300)
    data.setup()
    assert data.train is not None and data.val is not None
    x, y = (torch.cat([data.train.x, data.val.x]), torch.cat([data.train.y, data.val.y]))  # type: ignore[list-item]
    np.savez(file, x=x.numpy(), y=y.numpy())


def main() -> None:
    """Measure and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "images.npz")
        for _ in range(runs):
            for name, arguments in COMMANDS.items():
                found[name].append(cpu_seconds(arguments, folder))
    for name, seconds in found.items():
        line = f"{statistics.median(seconds):6.2f} CPU-s  {name}"
        if other := PAIRS.get(name):
            ratios = [a / b for a, b in zip(seconds, found[other], strict=True)]
            line += f"  ({statistics.median(ratios):.2f} x {other})"
        print(line)


if __name__ == "__main__":
    main()
