"""What adapting to 1,000 labelled images costs as a whole process, from its start to its end.

    python notebooks/processes.py CIFAR10_FOLDER CIFAR10_BASE TINY_IMAGENET_FOLDER TINY_BREEDS_BASE [SEEDS]

For each drift the same pictures, in class folders, go to ``fit``, to ``tbft.personalize`` in a process of one's own
with torch's import counted, and to a bundle on onnxruntime, with the level named and without; and to ``fit`` with full
fine-tuning by its own best recipe, with whose process the others are compared. One thread; the processes take turns;
medians of the ratios within a turn. Both base models want a source card.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

IMAGES, TEST_IMAGES = 1000, 2000

PERSONALIZE = """
import tbft
tbft.personalize({base!r}, {pictures!r}, level={level!r}, seed={seed}, out={out!r})
"""
OPPONENT = "fit, full fine-tuning, tuned"


@dataclass(frozen=True)
class Drift:
    """One drift, and the level that it belongs to."""

    name: str
    level: str
    base: str
    data: Any

    @property
    def tuned_full(self) -> str:
        """The best recipe for full fine-tuning."""
        return "strategy/tuned-full-input.yaml" if self.level == "input" else "strategy/tuned-full.yaml"


def drifts(cifar10: str, cifar10_base: str, breeds: str, breeds_base: str) -> Iterator[Drift]:
    """A development drift and one on which nothing was tuned for two levels, and the one there is for the third."""
    from tbft.data.breeds import Breeds
    from tbft.data.cifar10 import CIFAR10

    def of(**drift: str) -> Any:
        return CIFAR10(root=cifar10, test_size=TEST_IMAGES, train_size=IMAGES, **drift)  # type: ignore[arg-type]

    yield Drift("contrast (development)", "input", cifar10_base, of(corruption="contrast"))
    yield Drift("motion_blur (held out)", "input", cifar10_base, of(corruption="motion_blur"))
    yield Drift(
        "tiny-breeds (development)", "feature", breeds_base, Breeds(root=breeds, table="tiny_breeds", train_size=IMAGES)
    )
    yield Drift("flip (development)", "output", cifar10_base, of(label_map="flip"))
    yield Drift("shuffle (held out)", "output", cifar10_base, of(label_map="shuffle:1"))


def commands(drift: Drift, pictures: Path, bundle: Path, folder: Path, seed: int) -> dict[str, list[str]]:
    """The processes by name; each leaves what it adapted in a folder of its name, the bundle in its state."""

    def fit(name: str, *files: str) -> list[str]:
        chosen = [part for file in (*files, "data/folder.yaml") for part in ("--config", file)]
        data = ["--data.root", str(pictures), "--data.test_size", "0", "--seed_everything", str(seed)]
        model = ["--model.base", drift.base, "--run.threads", "1", "--run.wandb", "off"]
        return ["-m", "tbft", "fit", *chosen, *data, *model, "--run.root", str(folder), "--run.name", name]

    def personalize(name: str, level: str | None) -> list[str]:
        values = {
            "base": drift.base,
            "pictures": str(pictures),
            "level": level,
            "seed": seed,
            "out": str(folder / name),
        }
        return ["-c", PERSONALIZE.format(**values)]

    level = f"{drift.level}.yaml"
    return {
        OPPONENT: fit(OPPONENT, level, drift.tuned_full),
        "fit, level named": fit("fit, level named", level),
        "fit, nobody names it": fit("fit, nobody names it", "auto.yaml"),
        "tbft.personalize, level named": personalize("tbft.personalize, level named", drift.level),
        "tbft.personalize, nobody names it": personalize("tbft.personalize, nobody names it", None),
        "bundle, level named": [str(bundle), "adapt", str(pictures), "--level", drift.level, "--seed", str(seed)],
        "bundle, nobody names it": [str(bundle), "adapt", str(pictures), "--seed", str(seed)],
    }


def cpu_seconds(arguments: list[str]) -> float:
    """CPU-seconds of one Python process, its children included."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if arguments[0].endswith(".pyz"):
        environment.pop("PYTHONPATH", None)  # a bundle brings its own code
    process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(f"exit code {code}: {' '.join(arguments)}")
    return usage.ru_utime + usage.ru_stime


def write_pictures(folder: Path, pixels: np.ndarray, labels: np.ndarray, classes: list[str]) -> Path:
    """Class folders of pictures."""
    for i, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        file = folder / classes[label] / f"{i:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.transpose(1, 2, 0)).save(file)
    return folder


def measure(drift: Drift, seed: int, folder: Path) -> dict[str, tuple[float, float]]:
    """CPU-seconds, and accuracy on test images in per cent, by process."""
    import torch

    import tbft
    from tbft.device import load
    from tbft.export.command import export_model

    data = drift.data
    data.seed, data.train, data.val, data.test = seed, None, None, None
    data.setup()
    x, y = (torch.cat([getattr(data.train, name), getattr(data.val, name)]).numpy() for name in ("x", "y"))
    test_x, test_y = data.test.x.numpy(), data.test.y.numpy()
    pictures = write_pictures(folder / "pictures", x, y, list(data.classes))
    bundle = export_model(drift.base, folder / "pet.pyz")
    found = {}
    for name, arguments in commands(drift, pictures, bundle, folder, seed).items():
        seconds = cpu_seconds(arguments)
        weights = folder / name / "model.safetensors"
        model = load(bundle, threads=1) if name.startswith("bundle") else tbft.load(weights)
        right = [row.label == label for row, label in zip(model.predict(test_x), test_y, strict=True)]
        found[name] = seconds, 100 * float(np.mean(right))
    return found


def main() -> None:
    """Measure and print a table for each drift."""
    *folders, seeds = sys.argv[1:6] if len(sys.argv) > 5 else [*sys.argv[1:5], "3"]
    if len(folders) != 4:
        raise SystemExit(__doc__)
    for drift in drifts(*(str(Path(given).resolve()) for given in folders)):
        runs = []
        for seed in range(int(seeds)):
            with tempfile.TemporaryDirectory() as folder:
                runs.append(measure(drift, seed, Path(folder)))
        print(f"\n{drift.level}: {drift.name}, {IMAGES} labelled images, {len(runs)} seeds\n")
        print("| whole process | CPU-s | saved | accuracy, % |\n| --- | --- | --- | --- |")
        for name in runs[0]:
            saved = statistics.median(100 * (1 - run[name][0] / run[OPPONENT][0]) for run in runs)
            told = f"{saved:.0f} %" if name != OPPONENT else ""
            middle = statistics.median(run[name][0] for run in runs)
            print(f"| {name} | {middle:.1f} | {told} | {np.mean([run[name][1] for run in runs]):.1f} |", flush=True)


if __name__ == "__main__":
    main()
