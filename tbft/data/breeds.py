"""Feature-level drift after BREEDS: super-classes with other sub-populations, from folders in ImageNet's layout."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from tbft.data.class_folders import open_files
from tbft.data.domain import DomainData
from tbft.data.picture_folders import pictures_in
from tbft.data.pictures import Pictures
from tbft.errors import BadInput
from tbft.paths import is_file, user_path
from tbft.yaml_file import check_yaml_file

Table = dict[str, dict[str, list[str]]]
"""Wnids of each super-class, ``{"source": [wnid, ...], "target": [wnid, ...]}``; super-classes are in label order."""


class Breeds(DomainData):
    """Super-classes whose source and target domain show different sub-populations.

    After BREEDS (Santurkar et al. 2020, arXiv:2008.04859): the classes are super-classes of ImageNet's, and the
    wnids of a super-class are divided between source and target domain. Pictures are read from
    ``root/train/<wnid>``; those in ``root/val/<wnid>``, if there is such a folder, are the test part in the device's
    split.

    Args:
        root: folder with ``train`` and ``val`` in ImageNet's layout.
        table: super-classes and their wnids: ``living17``, ``tiny_breeds``, or a YAML file.
        variant: name of one table in a file that holds several; Living-17 has ``rand`` (of the published results),
            ``good`` and ``bad`` (source and target more and less alike).
        kwargs: options that all data sets share (see ``DomainData``).
    """

    drifts_as_told = True

    def __init__(self, root: str, table: str = "living17", variant: str = "rand", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = user_path(root)
        self.table = read_table(table, variant)
        self.classes = tuple(self.table)
        self.name = Path(table).stem + ("" if variant == "rand" else f"-{variant}")

    @property
    def subpopulation(self) -> str | None:
        """Name of the feature-level drift: the target domain has other wnids."""
        return "subpopulation"

    def open(self) -> Pictures:
        """Open the pictures of the domain's wnids.

        Raises:
            BadInput: if ``root`` has no folder ``train``, or a wnid has no folder; the message names each such wnid.
        """
        if not (self.root / "train").is_dir():
            raise BadInput(f"data.root {self.root} has no folder train: give the one with train/<wnid> and val/<wnid>")
        parts = {"train": self.root / "train"}
        if (self.root / "val").is_dir():
            parts["test"] = self.root / "val"
        wnids = [wnid for of in self.table.values() for wnid in of[self.domain]]
        for part in parts.values():
            if missing := [wnid for wnid in wnids if not (part / wnid).is_dir()]:
                raise BadInput(
                    f"{part} lacks {len(missing)} of the {len(wnids)} wnids of the {self.domain} domain "
                    f"({', '.join(missing)}): add a folder of each"
                )
        files = {
            part: [
                (path, label)
                for label, of in enumerate(self.table.values())
                for wnid in of[self.domain]
                for path in pictures_in(folder / wnid)
            ]
            for part, folder in parts.items()
        }
        return open_files(files, self.image_size, skip_broken=self.skip_broken)


def read_table(name: str, variant: str = "rand") -> Table:
    """Read a table of super-classes that ships with tbft, or one from a YAML file.

    Args:
        name: ``living17``, ``tiny_breeds`` or a YAML file.
        variant: name of one table in a file that holds several; ``rand`` for a file that holds one.

    Raises:
        BadInput: if there is no such table, variant or super-class's list of wnids, or a wnid stands in two places.
    """
    shipped = resources.files("tbft.data") / "tables"
    file = user_path(name)
    try:
        if is_file(file):
            check_yaml_file(file)
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        elif (shipped / f"{name}.yaml").is_file():
            content = yaml.safe_load((shipped / f"{name}.yaml").read_text(encoding="utf-8"))
        else:
            known = ", ".join(sorted(Path(item.name).stem for item in shipped.iterdir()))
            raise BadInput(f"no table of super-classes {name!r}: give a YAML file, or one of {known}")
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not content:
        raise BadInput(f"{name} is no table: it maps each super-class to its source and target wnids")
    if not any(isinstance(of, dict) and "source" in of for of in content.values()):
        if variant not in content:
            raise BadInput(f"{name} has no variant {variant!r}: choose data.variant among {', '.join(content)}")
        content = content[variant]
    elif variant != "rand":
        raise BadInput(f"{name} is one table and has no variant {variant!r}: leave data.variant out")
    return _checked(content, name)


def _checked(content: Any, name: str) -> Table:
    """Return a table, after checking that each super-class lists wnids and each wnid stands in one place."""
    seen: dict[str, str] = {}
    table: Table = {}
    for superclass, of in (content if isinstance(content, dict) else {}).items():
        table[str(superclass)] = {}
        for domain in ("source", "target"):
            wnids = of.get(domain) if isinstance(of, dict) else None
            if not isinstance(wnids, list) or not wnids:
                raise BadInput(f"{name}: super-class {superclass!r} lists no {domain} wnids; add them")
            for wnid in map(str, wnids):
                if wnid in seen:
                    raise BadInput(f"{name}: {wnid} stands under {seen[wnid]} and {superclass} {domain}; keep one")
                seen[wnid] = f"{superclass} {domain}"
            table[str(superclass)][domain] = [str(wnid) for wnid in wnids]
    return table
