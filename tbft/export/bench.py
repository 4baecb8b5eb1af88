"""Compare the cost and accuracy of a bundle on a device without torch with torch's: ``python -m tbft.export.bench``.

Each line of the table is an adaptation of a bundle in its own process, imports included, with CPU-seconds and peak
memory as the kernel counts them (medians over seeds). Accuracy is on test images, as the mean over seeds; torch's is
that of ``tbft.personalize`` on the same images.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tbft.export.command import export_model
from tbft.predictions import Predictions
from tbft.schema import RESULT_FILE

_LEVELS: dict[str, tuple[str, dict[str, Any]]] = {
    "input": ("digits", {"corruption": "contrast"}),
    "feature": ("digits_superclasses", {"task": "superclasses"}),
    "output": ("digits", {"label_map": "flip"}),
}
_IMAGES = 300

_STEPS = 30
"""Training steps that are timed, alternating between onnxruntime and torch."""

_BATCH = {"input": 16, "feature": 8, "output": 16}
"""Batch size of torch's training by level, as the levels' configurations give it for the digits."""


@dataclass(frozen=True)
class Part:
    """Images of a domain with labels.

    Attributes:
        pixels: images ``(N, 3, H, W)``, uint8.
        labels: class indices ``(N,)``, int64.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def write(self, folder: Path, classes: tuple[str, ...]) -> Path:
        """Write the images as class folders of PNG files and return ``folder``."""
        for i, (picture, label) in enumerate(zip(self.pixels, self.labels, strict=True)):
            file = folder / classes[label] / f"{i:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.transpose(1, 2, 0)).save(file)
        return folder


def main(args: list[str] | None = None) -> int:
    """Measure and print the table, and return the exit code 0.

    Args:
        args: the command line without the program's name; ``None`` takes the process's own.
    """
    parser = ArgumentParser(prog="python -m tbft.export.bench", description="What a device without torch costs.")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each line (default: 5)")
    parser.add_argument("--python", default=sys.executable, help="that runs the bundles (default: this one)")
    parser.add_argument("--no-torch", action="store_true", help="leave torch's accuracy and cost out")
    parser.add_argument(
        "--levels", nargs="*", default=list(_LEVELS), choices=_LEVELS, help="of the digits (default: all)"
    )
    parser.add_argument("--cifar10", help="CIFAR-10 folder (train/, test/): adds a ResNet-26 under two drifts at once")
    parser.add_argument("--base", help="the ResNet-26's weights")
    options = parser.parse_args(args)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| adapt, whole process | CPU-s | MiB | accuracy, % | torch's accuracy, % | torch's adaptation, CPU-s |")
        print("| --- | --- | --- | --- | --- | --- |", flush=True)
        for level in options.levels:
            _print_line(f"digits, {level}", _digits(folder, level, options.seeds), options, level)
        if options.cifar10:
            _print_line("CIFAR-10, ResNet-26, two drifts, 100 labels", _cifar10(folder, options), options, "auto")
    if not options.no_torch:
        mine, theirs = step_seconds()
        print(f"\nA step of ResNet-26's last stage, 64 images: {1e3 * mine:.0f} ms in onnxruntime, ", end="")
        print(f"{1e3 * theirs:.0f} ms in torch ({mine / theirs:.2f})")
    return 0


def _digits(folder: Path, level: str, seeds: int) -> Iterator[tuple[Path, str, int, Part, Part, tuple[str, ...]]]:
    from tbft.data import Digits

    base, drift = _LEVELS[level]
    task = drift.get("task", "digits")
    source = Digits(task=task, domain="source", train_size=200, image_size=16)
    bundle = _bundle(folder / level, base, _labelled(source), tuple(source.classes), ())
    for seed in range(seeds):
        data = Digits(train_size=_IMAGES, image_size=16, seed=seed, **drift)
        labelled, test = _labelled(data), _test(data)
        yield bundle, base, seed, labelled, test, tuple(data.classes)


def _cifar10(folder: Path, options: Any) -> Iterator[tuple[Path, str, int, Part, Part, tuple[str, ...]]]:
    from tbft.data import CIFAR10

    common = {"root": options.cifar10, "image_size": 32}
    base = _with_card(folder, options)
    (folder / "cifar10").mkdir()
    bundle = export_model(base, folder / "cifar10" / "pet.pyz")
    for seed in range(options.seeds):
        data = CIFAR10(
            train_size=100, test_size=1000, corruption="gaussian_noise", label_map="flip", seed=seed, **common
        )
        labelled, test = _labelled(data), _test(data)
        yield bundle, base, seed, labelled, test, tuple(data.classes)


def _with_card(folder: Path, options: Any) -> str:
    """Write the ResNet-26 with a source card, for the bundle and for torch, and return the file's name."""
    from tbft.cli import main

    file = str(folder / "base.safetensors")
    data = ["--config", "data/cifar10.yaml", "--data.root", options.cifar10]
    with contextlib.redirect_stdout(sys.stderr):
        code = main(["card", "--model.base", options.base, *data, "--to", file])
    if code:
        raise RuntimeError("the source card could not be measured")
    return file


def _bundle(folder: Path, base: str, source: Part, classes: tuple[str, ...], named: tuple[str, ...]) -> Path:
    pictures = source.write(folder / "source", classes)
    return export_model(base, folder / "pet.pyz", source=str(pictures), classes=named)


def _labelled(data: Any) -> Part:
    data.setup()
    parts = [part for part in (data.train, data.val) if part is not None]
    return Part(np.concatenate([p.x.numpy() for p in parts]), np.concatenate([p.y.numpy() for p in parts]))


def _test(data: Any) -> Part:
    return Part(data.test.x.numpy(), data.test.y.numpy())


def _print_line(title: str, runs: Iterator[Any], options: Any, level: str) -> None:
    import tbft
    from tbft.device import load

    costs, mine, theirs, torch_seconds = [], [], [], []
    for bundle, base, seed, labelled, test, classes in runs:
        pictures = labelled.write(bundle.parent / f"labelled{seed}", classes)
        command = [options.python, str(bundle), "adapt", str(pictures), "--level", level, "--seed", str(seed)]
        seconds = cpu_seconds_of([*command, "--threads", "1"])
        record = json.loads((bundle.with_suffix(".state") / RESULT_FILE).read_text())
        costs.append((seconds, record["peak_rss_mib"]))
        mine.append(_accuracy(load(bundle, threads=1).predict(test.pixels), test))
        if not options.no_torch:
            named: dict[str, Any] = {} if level == "auto" else {"level": level, "data": {"batch_size": _BATCH[level]}}
            better = tbft.personalize(base, labelled.pixels, labelled.labels, seed=seed, **named)
            theirs.append(_accuracy(better.predict(test.pixels), test))
            torch_seconds.append(better.cpu_seconds)
    cpu_seconds, mib = (np.median([cost[i] for cost in costs]) for i in (0, 1))
    cells = [f"{cpu_seconds:.2f}", f"{mib:.0f}", _mean(mine, 100), _mean(theirs, 100), _mean(torch_seconds, 1)]
    print(f"| {title} | {' | '.join(cells)} |", flush=True)


def step_seconds() -> tuple[float, float]:
    """Measure a training step of ResNet-26's last stage on the prefix's features of 64 images.

    Returns:
        CPU-seconds of a step in onnxruntime and in torch: medians of alternating steps, without the first ones.
    """
    import torch
    import torch.nn.functional as F

    from tbft.export.bundle import parameters_of
    from tbft.export.check import training_modes
    from tbft.export.forward import export_forward
    from tbft.export.optimizer import AdamW
    from tbft.export.training import training_step
    from tbft.models import build

    torch.set_num_threads(1)
    images, chain = 64, build("resnet26", num_classes=10, image_size=32)
    forward = export_forward(chain)
    graph, trained = training_step(forward, "block3", parameters_of(chain, "block3"), AdamW())
    session = forward.open(graph, repeated=True)
    features = torch.randn(images, *[size for size in forward.shapes["block2"] if size])
    labels = torch.arange(images) % 10
    parameters = np.concatenate([forward.weights[key].ravel() for key in trained.parameters])
    inputs = {
        "parameters": parameters,
        "statistics": np.concatenate([forward.weights[key].ravel() for key in trained.statistics]),
        **{name: np.zeros_like(parameters) for name in ("moment1", "moment2")},
        **{"features": features.numpy(), "labels": labels.numpy(), "rate": np.array(1e-3), "step": np.array(1.0)},
    }
    training_modes(chain, "block3")
    for name, parameter in chain.named_parameters():
        parameter.requires_grad_(name in trained.parameters)
    chain, features = chain.to(memory_format=torch.channels_last), features.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW([p for p in chain.parameters() if p.requires_grad], lr=1e-3)

    def step_in_torch() -> None:
        optimizer.zero_grad()
        F.cross_entropy(chain(features, start="block3"), labels).backward()
        optimizer.step()

    seconds: list[list[float]] = [[], []]
    for _ in range(_STEPS):
        for taken, step in zip(seconds, (lambda: session(**inputs), step_in_torch), strict=True):
            start = time.process_time()
            step()
            taken.append(time.process_time() - start)
    mine, theirs = (float(np.median(taken[_STEPS // 5 :])) for taken in seconds)
    return mine, theirs


def _accuracy(predictions: Predictions, test: Part) -> float:
    return float(np.mean([row.label == label for row, label in zip(predictions, test.labels, strict=True)]))


def cpu_seconds_of(command: list[str]) -> float:
    """Run a command with one thread and return its CPU-seconds, as the kernel counts them.

    Raises:
        RuntimeError: if it ends with another exit code than 0.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)  # the bundle must use its own code
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def _mean(values: list[float], unit: float) -> str:
    return f"{unit * np.mean(values):.2f}" if values else ""


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    sys.exit(code)
