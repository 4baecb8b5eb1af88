"""How much is lost where nobody names the drift: regret against the best remedy in hindsight, drift by drift."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tbft.adaptation.adaptation import choose_device
from tbft.adaptation.observation import look, observe
from tbft.data.batches import Examples
from tbft.data.domain import DomainData
from tbft.given_model import classifier_of
from tbft.personalization import personalize
from tbft.remedies import REFRESHED, SOURCE, SourceCard
from tbft.remedies.combinations import candidates

TUNED_FULL = {"input": "strategy/tuned-full-input.yaml", None: "strategy/tuned-full.yaml"}


@dataclass(frozen=True)
class Cell:
    """One drift that a device meets.

    Attributes:
        name: for the table.
        data: of the target domain, not opened.
        base: base model.
        levels: that drifted; one of them has a recipe of its own if nothing else drifted.
        long_tail: the last class comes ten times less often than the first.
    """

    name: str
    data: DomainData
    base: str
    levels: tuple[str, ...] = ()
    long_tail: bool = False


@dataclass(frozen=True)
class Outcome:
    """What one strategy made of a cell.

    Attributes:
        accuracy: on the test images, a fraction of 1.
        cpu_seconds: of the whole adaptation.
    """

    accuracy: float
    cpu_seconds: float


def measure(cell: Cell, images: int, seed: int, *, full: bool = True) -> dict[str, Outcome]:
    """Outcome by strategy: ``ours``, ``no labels``, ``none``, ``refresh + head``, ``level``, ``full``, and ``best``.

    ``no labels`` is ours too.

    The best in hindsight is chosen with the test labels among all of these and every combination of the remedies
    without gradients.

    Args:
        cell: the drift.
        images: labelled images that the device has.
        seed: draws them.
        full: measure full fine-tuning too, which costs more than all else.
    """
    (x, y), (test_x, test_y) = _images(cell, images, seed)
    found, hindsight = _without_gradients(cell, x, y, test_x, test_y, seed)
    strategies: dict[str, dict[str, object]] = {"ours": {}, "no labels": {}}
    if len(cell.levels) == 1 and not cell.long_tail:
        strategies["level"] = {"level": cell.levels[0]}
    if full:
        level = "input" if cell.levels == ("input",) else None
        strategies["full"] = {"level": level or "feature", "config": TUNED_FULL[level]}
    for name, how in strategies.items():
        labels = None if name == "no labels" else y
        better = personalize(cell.base, x, labels, seed=seed, **how)  # type: ignore[arg-type]
        found[name] = Outcome(_accuracy([row.label for row in better.predict(test_x)], test_y), better.cpu_seconds)
    found["best"] = Outcome(max(hindsight, *(outcome.accuracy for outcome in found.values())), 0.0)
    return found


def _images(cell: Cell, images: int, seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    data = cell.data
    data.seed, data.train_size = seed, 4 * images if cell.long_tail else images
    data.train = data.val = data.test = None
    data.setup()
    assert data.train is not None and data.val is not None and data.test is not None
    parts = [(torch.cat([data.train.x, data.val.x]), torch.cat([data.train.y, data.val.y])), (data.test.x, data.test.y)]
    rng = np.random.default_rng(seed)
    if cell.long_tail:
        share = 10.0 ** (-np.arange(len(data.classes)) / (len(data.classes) - 1))
        parts = [_thinned(x, y, share, rng) for x, y in parts]
    (x, y), test = parts
    order = rng.permutation(len(y))[:images]
    return (x[order], y[order]), test


def _thinned(x: Tensor, y: Tensor, share: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    kept = torch.from_numpy(np.flatnonzero(rng.random(len(y)) < share[y.numpy()]))
    return x[kept], y[kept]


def _without_gradients(
    cell: Cell, x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor, seed: int
) -> tuple[dict[str, Outcome], float]:
    """``none`` and ``refresh + head``, and the best combination on the test images."""
    with classifier_of(cell.base, number_format="cheapest") as (classifier, _):
        classifier.place(choose_device("cpu"))
        began = time.process_time()
        own, other = (Examples(*part, mean=classifier.mean, std=classifier.std) for part in ((x, y), (test_x, test_y)))
        seen = observe(classifier, own, labelled=True, seed=seed)
        tried = list(candidates(seen.samples, seen.head, SourceCard()))
        spent = time.process_time() - began
        test = {SOURCE: look(classifier, other, seen.head, labelled=True)}
        if seen.refreshed:
            classifier.model.load_state_dict(seen.refreshed, strict=False)
            test[REFRESHED] = look(classifier, other, seen.head, labelled=True)
    accuracies = {
        candidate.remedies: _accuracy(
            candidate.fit.whole.head.logits(test[candidate.statistics].features).argmax(1), test_y
        )
        for candidate in tried
    }
    solved = ("refresh", "head") if ("refresh", "head") in accuracies else ("head",)
    found = {"none": Outcome(accuracies[("keep",)], 0.0), "refresh + head": Outcome(accuracies[solved], spent)}
    return found, max(accuracies.values())


def _accuracy(predicted: object, labels: Tensor) -> float:
    return float((np.asarray(predicted) == labels.numpy()).mean())


def table(rows: Sequence[tuple[str, int, dict[str, Outcome]]]) -> str:
    """Accuracy in per cent by drift and number of images, CPU-seconds in brackets; then the regret of each strategy."""
    names = ["none", "refresh + head", "level", "full", "ours", "no labels", "best"]
    lines = ["| drift | images | " + " | ".join(names) + " |", "| --- " * (len(names) + 2) + "|"]
    groups: dict[tuple[str, int], list[dict[str, Outcome]]] = {}
    for drift, images, found in rows:
        groups.setdefault((drift, images), []).append(found)
    for (drift, images), group in groups.items():
        lines.append(f"| {drift} | {images} | " + " | ".join(_shown(group, name) for name in names) + " |")
    for images in dict.fromkeys(images for _, images, _ in rows):
        cells = [found for _, count, found in rows if count == images]
        means = [_regret(cells, name) for name in names[:-1]]
        lines.append(f"| **mean regret** | {images} | " + " | ".join(means) + " | |")
    return "\n".join(lines)


def _shown(group: Sequence[dict[str, Outcome]], name: str) -> str:
    outcomes = [found[name] for found in group if name in found]
    if not outcomes:
        return ""
    spent = np.mean([outcome.cpu_seconds for outcome in outcomes])
    return f"{100 * np.mean([o.accuracy for o in outcomes]):.1f}" + (f" ({spent:.1f})" if spent else "")


def _regret(cells: Sequence[dict[str, Outcome]], name: str) -> str:
    lost = [100 * (found["best"].accuracy - found[name].accuracy) for found in cells if name in found]
    return f"{np.mean(lost):.2f} (95th percentile {np.quantile(lost, 0.95):.1f})" if lost else ""


def digits_cells() -> Iterator[Cell]:
    """Drifts of the digits that ship."""
    from tbft.data.digits import Digits

    def data(**drift: str) -> DomainData:
        return Digits(image_size=16, **drift)  # type: ignore[arg-type]

    yield Cell("none", data(), "digits")
    yield Cell("contrast", data(corruption="contrast"), "digits", ("input",))
    yield Cell("flip", data(label_map="flip"), "digits", ("output",))
    yield Cell("contrast + flip", data(corruption="contrast", label_map="flip"), "digits", ("input", "output"))
    yield Cell("long-tailed prior", data(), "digits", long_tail=True)
    yield Cell("superclasses", data(task="superclasses"), "digits_superclasses", ("feature",))


DEVELOPMENT = ("none", "gaussian_noise", "contrast", "flip", "gaussian_noise+flip", "prior", "breeds")
HELD_OUT = ("impulse_noise", "fog", "pixelate", "motion_blur", "shuffle:1", "fog+shuffle:1", "impulse_noise+prior")
"""Drifts on which nothing was chosen."""


def photo_cells(names: Sequence[str], cifar: tuple[str, str], breeds: tuple[str, str]) -> Iterator[Cell]:
    """Drifts of CIFAR-10 and of the super-classes of Tiny-ImageNet.

    Args:
        names: drifts, joined by ``+``.
        cifar: folder of the images, and base model.
        breeds: likewise.
    """
    from tbft.data.breeds import Breeds
    from tbft.data.cifar10 import CIFAR10

    for name in names:
        if name == "breeds":
            yield Cell(name, Breeds(root=breeds[0], table="tiny_breeds"), breeds[1], ("feature",))
            continue
        parts = [] if name == "none" else name.split("+")
        long_tail = "prior" in parts
        labels = next((part for part in parts if part.partition(":")[0] in ("flip", "shuffle", "rotate")), None)
        corruption = next((part for part in parts if part not in ("prior", labels)), None)
        levels = (*(("input",) if corruption else ()), *(("output",) if labels else ()))
        size = 4000 if long_tail else 1000
        data = CIFAR10(root=cifar[0], corruption=corruption, label_map=labels, test_size=size)
        yield Cell(name, data, cifar[1], levels, long_tail)


def main(args: list[str] | None = None) -> None:
    """Print the table of the digits, or of the photographs whose folders and base models are given."""
    parser = argparse.ArgumentParser(prog="python -m tbft.study.adaptive", description=main.__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[100])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--drifts", nargs="+", help="names; by default the development and the held-out drifts")
    parser.add_argument("--cifar", nargs=2, metavar=("FOLDER", "BASE"))
    parser.add_argument("--breeds", nargs=2, metavar=("FOLDER", "BASE"))
    parser.add_argument("--without-full", action="store_true", help="leave full fine-tuning out")
    given = parser.parse_args(args)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    parts = {"digits": list(digits_cells())}
    if given.cifar:
        names = {"development": DEVELOPMENT, "held out": HELD_OUT}
        names = {"chosen": tuple(given.drifts)} if given.drifts else names
        breeds = tuple(given.breeds) if given.breeds else None
        parts = {
            part: list(photo_cells([n for n in own if breeds or n != "breeds"], tuple(given.cifar), breeds or ("", "")))
            for part, own in names.items()
        }
    for part, cells in parts.items():
        rows = []
        for cell in cells:
            for images in given.images:
                for seed in range(given.seeds):
                    found = measure(cell, images, seed, full=not given.without_full)
                    rows.append((cell.name, images, found))
                    told = ", ".join(f"{name} {100 * outcome.accuracy:.1f}" for name, outcome in found.items())
                    print(f"{cell.name}, {images} images, seed {seed}: {told}", file=sys.stderr, flush=True)
        print(f"\n{part}\n\n{table(rows)}", flush=True)


if __name__ == "__main__":
    main()
