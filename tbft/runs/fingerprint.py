"""Fingerprint of what a run's weights depend on, so that a checkpoint is never resumed as a different run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tbft.data import DomainData
from tbft.models import BaseWeights
from tbft.models.checksum import digest

_FREE_SECTIONS = ("run.", "energy.", "cache.", "trainer.logger", "trainer.enable_", "trainer.profiler")
_FREE = {"config", "ckpt_path", "weights_only", "trainer.default_root_dir", "trainer.log_every_n_steps"}
_FREE |= {"trainer.max_epochs", "trainer.max_steps", "trainer.max_time"}
_FREE |= {f"data.init_args.{name}" for name in ("download", "memory_limit", "workers", "on_device")}
"""Options that a resumed run may change: its length, where it is recorded, and whatever changes no weights."""

_ALIGN = "freeze.align"
_ROOT = "data.init_args.root"
_LOCATED = ("model.base", _ROOT)
"""Options that are compared by the contents of their files: a folder may move, but its pictures may not change."""


def fingerprint(config: Mapping[str, Any], base: BaseWeights | None, data: DomainData) -> dict[str, Any]:
    """Describe a run by everything that its weights depend on.

    Args:
        config: resolved options of ``fit``, nested, as plain values.
        base: the base model; ``None`` where one is being trained.
        data: the run's data, set up.

    Returns:
        Plain strings: ``options`` and ``located`` (JSON, from dotted name to value), and digests: ``base`` (empty
        without a base model), ``data`` (labels and names), ``pixels`` and ``files`` (empty where they are not known).
    """
    options = {name: value for name, value in _flat(config) if not _is_free(name)}
    if options.get(_ALIGN) == "for_an_epoch":  # it differs from with_card only in the length of the run
        options[_ALIGN] = "with_card"
    located = {name: str(value) for name, value in _flat(config) if name in _LOCATED}
    return {
        "options": json.dumps(options, sort_keys=True, default=str),
        "located": json.dumps(located, sort_keys=True),
        "base": digest(base.weights) if base else "",
        **_digests_of_data(data),
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name the differences between two fingerprints: options with both values, the base model, the data.

    The data is named only if no option differs.

    Args:
        then: fingerprint of the run that wrote a checkpoint.
        now: fingerprint of the run that would go on from it.

    Returns:
        One phrase for each difference; an empty list if the run may go on.
    """
    old, new = json.loads(then["options"]), json.loads(now["options"])
    missing = object()
    names = [name for name in sorted({**old, **new}) if old.get(name, missing) != new.get(name, missing)]
    found = [f"{name} ({_shown(old.get(name))} -> {_shown(new.get(name))})" for name in names]
    places = json.loads(then["located"]), json.loads(now["located"])
    if then["base"] != now["base"]:
        found.append(_moved("model.base", places, "other weights"))
    if _has_other_data(then, now) and not names:  # with another seed or size the images differ anyway
        found.append(_moved(_ROOT, places, "other images or labels"))
    return found


def _moved(name: str, places: tuple[dict[str, str], dict[str, str]], what: str) -> str:
    old, new = (place.get(name) for place in places)
    return f"{name} ({old} -> {new})" if old != new else f"{name} ({what} than before)"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_free(name: str) -> bool:
    return name in (*_FREE, *_LOCATED) or name.startswith(_FREE_SECTIONS)


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [pair for key, inner in value.items() for pair in _flat(inner, f"{name}.{key}" if name else str(key))]
    return [(name, value)]


def _digests_of_data(data: DomainData) -> dict[str, str]:
    """Hash the labels of all parts with the class names and the names of the test images, the pixels, and the files.

    ``pixels`` is empty if pictures are not in memory, and ``files``, of their names and sizes, if they are not files.
    """
    parts = {
        name: part for name, part in (("train", data.train), ("val", data.val), ("test", data.test)) if part is not None
    }
    pixels = {name: part.x for name, part in parts.items() if isinstance(part.x, Tensor)}
    named = {"classes": json.dumps(data.classes), "names": json.dumps(data.test_names)}
    return {
        "data": digest({name: part.y for name, part in parts.items()}, named),
        "pixels": digest(pixels) if len(pixels) == len(parts) else "",
        "files": digest({}, {"files": json.dumps(data.identities)}) if data.identities else "",
    }


def _has_other_data(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether labels or pictures differ; files count only where the pixels of one run are not known."""
    pictures = "pixels" if then.get("pixels") and now["pixels"] else "files"
    return then["data"] != now["data"] or then.get(pictures) != now[pictures]
