"""The user's own pictures, in class folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tbft.data.class_folders import open_files
from tbft.data.class_names import check_order
from tbft.data.copies import distinct_files
from tbft.data.domain import DomainData
from tbft.data.picture_folders import VALIDATION, class_folders, domain_folder, is_split, pictures_in
from tbft.data.pictures import Pictures
from tbft.errors import BadInput
from tbft.paths import is_folder, user_path


class Folder(DomainData):
    """The user's own pictures, in a folder for each class.

    ``root`` holds the class folders, or holds folders ``source`` and ``target`` with class folders, of which the
    domain's own is used. The class folders may already be split into ``train``, ``test`` and ``val`` (or
    ``validation``), which are then used as they are. If there are only ``train`` and ``val``, tests use ``val``.

    Of labelled training files with the same content only the first is used.

    Labels follow the base model's order of class names. If the base model does not name its classes, they are assumed
    to be in the order of ``class_names``, or in alphabetical order.

    Args:
        root: folder of the pictures.
        class_names: class names in the order of their labels; ``None`` is the folders' alphabetical order.
        kwargs: options that all data sets share (see ``DomainData``).
    """

    def __init__(self, root: str, class_names: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root, self.class_names = user_path(root), class_names
        self.name = (self.root.resolve() if is_folder(self.root) else self.root).name

    def open(self) -> Pictures:
        """Open the pictures of the chosen domain, sorted by class and file name.

        Raises:
            BadInput: if a folder has no pictures, ``class_names`` and the class folders differ, or a part has a class
                that the training part lacks.
        """
        if not is_folder(self.root):
            raise BadInput(f"data.root {self.root} is no folder: give the one that holds a folder for each class")
        parts = _parts(domain_folder(self.root, self.domain))
        self.classes = tuple(self._classes(parts["train"]))
        files = {name: self._labelled(part) for name, part in parts.items()}
        train = files.pop("train")
        told = train if self.labelled else [(path, None) for path, _ in train]
        files = {"train": [train[at] for at in distinct_files(told, **files)], **files}
        return open_files(files, self.image_size, skip_broken=self.skip_broken)

    def _classes(self, folder: Path) -> list[str]:
        found = class_folders(folder)
        if self.class_names is None:
            if self.domain == "target" and not self.base_classes:
                check_order(found, "give data.class_names, in the order of its outputs")
            return found
        if sorted(self.class_names) != found:
            wrong = sorted(set(self.class_names) ^ set(found)) or self.class_names
            raise BadInput(f"data.class_names and the folders in {folder} differ ({', '.join(wrong)}): make them agree")
        return self.class_names

    def _labelled(self, part: Path) -> list[tuple[Path, int]]:
        found = class_folders(part)
        if extra := sorted(set(found) - set(self.classes)):
            raise BadInput(f"{part / extra[0]} has no counterpart to train on: add the class there, or remove it here")
        return [(path, self.classes.index(name)) for name in found for path in pictures_in(part / name)]


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folder of each part (``train``, ``validation``, ``test``); ``train`` alone for unsplit pictures."""
    if not is_split(folder):
        return {"train": folder}
    parts = {"train": folder / "train"}
    validation = next((folder / name for name in VALIDATION if (folder / name).is_dir()), None)
    if (folder / "test").is_dir():
        parts["test"] = folder / "test"
        if validation is not None:
            parts["validation"] = validation
    elif validation is not None:
        parts["test"] = validation
    return parts
