"""A bundle on a device: it predicts, diagnoses, adapts, and goes back."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tbft.atomic import write_text
from tbft.device.bundle import Bundle
from tbft.device.calibration import calibrate
from tbft.device.int8 import RANGES
from tbft.device.levels import LEVELS, Level
from tbft.device.memory import MemoryLimit
from tbft.device.network import Network
from tbft.device.pictures import Sample, of_arrays, read_labelled, read_unlabelled, without_broken
from tbft.device.runtime import Runtime, load_onnxruntime
from tbft.device.state import StateFolder, read_delta
from tbft.errors import BadInput, check_at_least
from tbft.paths import user_path
from tbft.predictions import Predictions
from tbft.schema import RESULT_FILE

if TYPE_CHECKING:
    from tbft.device.adaptation import Adaptation, Course

log = logging.getLogger(__name__)

Images = str | Path | NDArray[np.uint8]
"""Path of a folder, or an array uint8 ``(N, 3, H, W)`` of the model's image size."""


def load(path: str | Path, *, threads: int | None = None, memory_mib: float | None = None) -> Device:
    """Open a bundle with the current adaptation of this device, or the base model if there is none.

    Args:
        path: path of ``pet.pyz``.
        threads: number of threads that compute; ``None`` is all cores but one, at most three.
        memory_mib: largest memory of this process in MiB; ``None`` is no limit.

    Raises:
        BadInput: if it is no bundle, was changed, or is of another version.
    """
    check_at_least(1, "device", threads=threads, memory_mib=memory_mib)
    return Device(Bundle(user_path(str(path))), threads=threads, memory_mib=memory_mib)


class Device:
    """A model on a device.

    Args:
        bundle: the opened bundle.
        threads: number of threads, see ``load``.
        memory_mib: memory limit, see ``load``.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None, memory_mib: float | None = None) -> None:
        self.bundle, self.state = bundle, StateFolder(bundle)
        self.runtime = Runtime(threads)
        self.limit = MemoryLimit(memory_mib, bundle.path.resolve().parent)

    def info(self) -> dict[str, Any]:
        """Return what is in the bundle and what was adapted, after comparing every member with its checksum."""
        self.bundle.check()
        manifest = self.bundle.manifest
        return {
            "classes": list(self.bundle.classes),
            "image_size": self.bundle.image_size,
            "parameters": manifest["parameters"],
            "levels": manifest["levels"],
            "left_out": manifest["left_out"],
            "made_with": {"tbft": manifest["tbft"], **manifest["made_with"]},
            "base": self.bundle.fingerprint[:16],
            "history": self.state.history(),
            **self._predicts(),
        }

    def _predicts(self) -> dict[str, Any]:
        """Return whether it predicts in int8 or in float, and how the two compared in the last calibration."""
        if self.bundle.int8 is None:
            return {"predicts": "float", "int8": None}
        current = next((entry for entry in self.state.history() if entry["current"]), None)
        compared = current["int8"] if current else self.bundle.int8["compared"]
        return {"predicts": "float" if self._network().ranges is None else "int8", "int8": compared}

    def predict(self, images: Images) -> Predictions:
        """Classify pictures; return one row for each that can be read, as ``tbft.load(...).predict`` does."""
        network = self._network()
        logits, sample, broken = without_broken(lambda part: network.predict(part.pixels), self._unlabelled(images))
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return Predictions.of(shifted / shifted.sum(axis=1, keepdims=True), self.bundle.classes, sample.names, broken)

    def diagnose(self, images: Images, labels: NDArray[np.integer] | None = None, *, labelled: bool = True) -> Any:
        """Diagnose what drifted between the base model's source and these pictures; change nothing.

        Args:
            images: a folder with a folder for each of some classes, or an array.
            labels: labels of an array ``(N,)``; ``None`` without labels, and for a folder.
            labelled: whether the folders of a folder are classes.

        Returns:
            A ``tbft.diagnosis.Diagnosis``.
        """
        from tbft.device.evidence import card_of, observe
        from tbft.diagnosis import diagnose

        sample = self._sample(images, labels, labelled, may_lack=True)
        seen, *_ = without_broken(lambda part: observe(self._base(), part), sample)
        return diagnose(seen.samples, seen.head, card_of(self.bundle), forward=seen.forward)

    def personalize(
        self,
        images: Images,
        labels: NDArray[np.integer] | None = None,
        *,
        level: Level = "auto",
        labelled: bool = True,
        budget_seconds: float | None = None,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Adapt the base model to pictures, and make the result current if it is no worse, else the base model.

        An interrupted adaptation leaves the one before it current.

        Args:
            images: a folder with a folder for each class, or an array.
            labels: labels of an array ``(N,)``; ``None`` without labels, and for a folder.
            level: drift level; ``auto`` lets the sample decide.
            labelled: whether the folders of a folder are classes; without labels, statistics are refreshed and the
                front block is aligned.
            budget_seconds: seconds after which training stops; a step, a validation and a save may follow.
            seed: seed of the validation split and of the order of training.

        Returns:
            The record, see ``tbft.schema.RunRecord``; it is also written as ``result.json`` into the state's folder.

        Raises:
            BadInput: if the pictures do not fit, or another process adapts this bundle.
        """
        if level not in LEVELS:
            raise BadInput(f"unknown drift level {level!r}: choose one of {', '.join(LEVELS)}")
        check_at_least(0, "device", budget_seconds=budget_seconds, seed=seed)
        load_onnxruntime()
        with self.state.locked():
            self.state.history()  # a state that cannot be used is refused before anything is computed
            return self._personalize(images, labels, level, labelled, budget_seconds, seed)

    def apply(self, delta: str | Path) -> None:
        """Make a delta from another device the current adaptation.

        Raises:
            BadInput: if it is no delta, was changed, or belongs to another base model.
        """
        path = user_path(str(delta))
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInput(f"{path} cannot be read ({error.strerror}): give a delta's file") from None
        found = read_delta(content, str(path), self.bundle)
        with self.state.locked():
            self.state.keep(found.tensors, {"strategy": "apply", "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")})

    def revert(self, name: str | None = None) -> None:
        """Make the base model current, or the adaptation of this name in the history."""
        with self.state.locked():
            self.state.revert(name)

    def delta(self) -> bytes | None:
        """Return the current adaptation as a file for other devices with this base; ``None`` for the base model."""
        return self.state.delta()

    def _personalize(
        self,
        images: Images,
        labels: NDArray[np.integer] | None,
        level: Level,
        labelled: bool,
        budget_seconds: float | None,
        seed: int,
    ) -> dict[str, Any]:
        from tbft.device.adaptation import Adaptation, Course
        from tbft.device.record import make_record
        from tbft.energy import EnergyMeter

        meter = EnergyMeter(codecarbon=False)
        meter.start()
        deadline = time.monotonic() + (float("inf") if budget_seconds is None else budget_seconds)

        @contextmanager
        def phase(name: str) -> Iterator[None]:
            with meter.phase(name):
                yield

        def spent() -> dict[str, float]:
            return {"joules": meter.joules_so_far(), "wall_seconds": meter.seconds_so_far()}

        course = Course(level, seed, deadline, phase, spent)
        sample, made = None, Adaptation()
        try:
            with phase("prepare"):
                sample = self._sample(images, labels, labelled)
                self._warn_of_absent_classes(sample)
            made, sample, broken = without_broken(lambda part: self._adapt(part, course), sample)
            made.skipped = len(broken)
            with phase("save"):
                meanwhile = make_record("completed", self.bundle, sample, course, made, {}, self.runtime.threads)
                if made.changed:
                    self.state.keep(made.changed, meanwhile)
                else:
                    self.state.revert()
        except KeyboardInterrupt:
            meter.stop(idle=False)
            stopped = make_record(
                "interrupted", self.bundle, sample, course, Adaptation(), meter.record(), self.runtime.threads
            )
            self._write_record(stopped)
            raise
        finally:
            meter.stop()
        record = make_record("completed", self.bundle, sample, course, made, meter.record(), self.runtime.threads)
        self._write_record(record)
        return record

    def _adapt(self, sample: Sample, course: Course) -> Adaptation:
        from tbft.device.adapt import adapt  # numpy's remedies are for adapting alone: predicting starts without them

        made = adapt(self._base(), sample, course)
        if made.changed and self.bundle.int8:
            with course.phase("validate"):
                self._calibrate(made, sample)
        return made

    def _warn_of_absent_classes(self, sample: Sample) -> None:
        classes = len(self.bundle.classes)
        absent = 0 if sample.labels is None else classes - len(set(sample.labels.tolist()))
        if absent:
            told = "%d of %d classes have no labelled picture: what is fitted to the others will hardly predict them"
            log.warning(told, absent, classes)

    def _calibrate(self, made: Adaptation, sample: Sample) -> None:
        """Calibrate int8 for an adaptation, which then predicts in int8 if the answers are as good as in float."""
        ranges, compared = calibrate(self._base().with_changes(made.changed), sample)
        made.detail["int8"] = {**asdict(compared), "kept": compared.holds}
        if compared.holds:
            made.changed[RANGES] = ranges

    def _write_record(self, record: dict[str, Any]) -> None:
        path = self.state.folder / RESULT_FILE
        try:
            write_text(path, json.dumps(record, indent=1))
        except OSError as error:  # on a full card; the adaptation itself was kept before
            log.warning("%s cannot be written (%s); the adaptation is as told all the same", path, error.strerror)

    def _base(self) -> Network:
        return Network(self.bundle, self.runtime, self.limit)

    def _network(self) -> Network:
        return Network(self.bundle, self.runtime, self.limit, self.state.current())

    def _sample(
        self, images: Images, labels: NDArray[np.integer] | None, labelled: bool, *, may_lack: bool = False
    ) -> Sample:
        if isinstance(images, np.ndarray):
            size, outputs = self.bundle.image_size, len(self.bundle.classes)
            return of_arrays(images, labels, size, outputs, self.limit, distinct=True)
        if labels is not None:
            raise BadInput("labels are given beside a folder, whose folders name the classes: give one of the two")
        if not labelled:
            return read_unlabelled(user_path(str(images)), self.bundle.image_size, self.limit, distinct=True)
        folder, named = user_path(str(images)), self.bundle.names_classes
        size, classes = self.bundle.image_size, self.bundle.classes
        return read_labelled(folder, classes, size, self.limit, named=named, may_lack=may_lack)

    def _unlabelled(self, images: Images) -> Sample:
        if isinstance(images, np.ndarray):
            return of_arrays(images, None, self.bundle.image_size, len(self.bundle.classes), self.limit)
        return read_unlabelled(user_path(str(images)), self.bundle.image_size, self.limit)
