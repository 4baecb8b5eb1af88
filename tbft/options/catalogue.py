"""Options of the commands that take a configuration, read from the source of the classes behind its sections.

Importing those classes means importing torch and Lightning, which takes seconds. Their signatures and docstrings are
enough to answer a typo or ``--help``, and reading them takes a fraction of that.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

SECTIONS = {
    "model": "ImageClassifier",
    "data": "DomainData",
    "freeze": "BlockFreeze",
    "head": "ClosedFormHead",
    "cache": "FeatureCache",
    "ladder": "Ladder",
    "energy": "RunMeter",
    "run": "RunSettings",
    "trainer": "Trainer",
}
"""The class behind each section of a configuration; ``data`` takes any data set, each with options of its own."""

DATA = "DomainData"
FOLLOWS = {
    "data.seed": "seed_everything",
    "data.image_size": "model.image_size",
    "data.mean": "model.mean",
    "data.std": "model.std",
    "data.base_classes": "model.base",
}
"""Parameters of data sets that are no options, and the option or base model that each is taken from."""

GENERAL = ("help", "config", "print_config", "seed_everything")
_OF_SUBCOMMAND = {
    "fit": ("ckpt_path", "weights_only"),
    "validate": ("ckpt_path", "verbose", "weights_only"),
    "test": ("ckpt_path", "verbose", "weights_only"),
    "predict": ("images", "return_predictions", "ckpt_path", "weights_only"),
    "diagnose": ("images", "json", "plot", "unlabelled"),
    "card": ("to",),
}
_PACKAGE = Path(__file__).parent.parent
_ENTRY = re.compile(r"^    (?:    )?(\w+)(?: \(.*?\))?: ", re.MULTILINE)


@dataclass(frozen=True)
class Option:
    """One option of a configuration.

    Attributes:
        name: name with its section, such as ``data.train_size``.
        default: default as written in the source, without quotes; ``None`` if a value must be given.
        choices: values of a ``Literal``; empty for other types.
        text: description from the docstring.
        annotation: type as written in the source; the name of a type that its module assigns is replaced by that type.
    """

    name: str
    default: str | None
    choices: tuple[str, ...]
    text: str
    annotation: ast.expr | None = None


def names_of(subcommand: str) -> list[str]:
    """List the names of all options of a subcommand, those of all data sets included."""
    own = (option.name for section in SECTIONS for option in section_options(section))
    of_data = (option.name for data_set in data_sets() for option in data_options(data_set))
    return [*dict.fromkeys([*GENERAL, *_OF_SUBCOMMAND[subcommand], *own, *of_data])]


def is_option(subcommand: str, name: str) -> bool:
    """Return whether a subcommand has an option, with any data set; only the source of its section is read."""
    section = name.partition(".")[0]
    if section not in SECTIONS:
        return name in (*GENERAL, *_OF_SUBCOMMAND[subcommand])
    of_data = (option for data_set in data_sets() for option in data_options(data_set)) if section == "data" else ()
    return any(option.name == name for option in chain(section_options(section), of_data))


@cache
def section_options(section: str) -> tuple[Option, ...]:
    """Return the options of one section; for ``data`` those that all data sets share.

    Those of ``trainer`` are empty if the installed Lightning has its trainer in another file.
    """
    if section == "trainer":
        found = _trainer()
        return tuple(_parameters(section, found)) if found else ()
    return tuple(option for option in _parameters(section, _find(SECTIONS[section])) if option.name not in FOLLOWS)


@cache
def data_options(data_set: str) -> tuple[Option, ...]:
    """Return the options of one data set: its own, then those that all share."""
    return (*_parameters("data", _find(data_set)), *section_options("data"))


@cache
def data_sets() -> tuple[str, ...]:
    """List the classes of the data sets that ship with tbft."""
    found = (re.findall(rf"^class (\w+)\({DATA}\):", text, re.MULTILINE) for text in _sources().values())
    return tuple(sorted(name for names in found for name in names))


@cache
def constant(name: str) -> tuple[str, ...]:
    """Return the words of a module-level tuple of tbft, such as ``CORRUPTIONS``, without importing the module."""
    assigned = re.compile(rf"^{name}\b.*? = ", re.MULTILINE)
    tree = ast.parse(next(text for text in _sources().values() if assigned.search(text)))
    values = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }

    def words(node: ast.expr | None) -> Iterator[str]:
        if isinstance(node, ast.Tuple):
            for part in node.elts:
                yield from words(part)
        elif isinstance(node, ast.Starred):
            yield from words(node.value)
        elif isinstance(node, ast.Name):
            yield from words(values[node.id])
        elif isinstance(node, ast.Constant):
            yield str(node.value)

    return tuple(words(values[name]))


@cache
def _sources() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted(_PACKAGE.rglob("*.py"))}


def _find(name: str) -> tuple[ast.Module, ast.ClassDef]:
    head = re.compile(rf"^class {name}\b", re.MULTILINE)
    return _class_in(next(text for text in _sources().values() if head.search(text)), name)


def _trainer() -> tuple[ast.Module, ast.ClassDef] | None:
    """Return the source of the installed Lightning's trainer without importing it; ``None`` if it is not found."""
    spec = find_spec("lightning")
    assert spec is not None and spec.origin is not None  # tbft depends on it
    file = Path(spec.origin).parent / "pytorch" / "trainer" / "trainer.py"
    return _class_in(file.read_text(encoding="utf-8"), "Trainer") if file.is_file() else None


def _class_in(text: str, name: str) -> tuple[ast.Module, ast.ClassDef]:
    module = ast.parse(text)
    return module, next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)


def _parameters(section: str, found: tuple[ast.Module, ast.ClassDef]) -> Iterator[Option]:
    """Yield an option for each parameter of a class's ``__init__``, or for each field of a dataclass.

    Args:
        section: section of the options.
        found: the class and its module, parsed.
    """
    module, node = found
    made = next((part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
    given: list[tuple[str, ast.expr | None, ast.expr | None]]
    documented: list[ast.ClassDef | ast.FunctionDef] = [node]
    if made is None:
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)]
        given = [(ast.unparse(part.target), part.annotation, part.value) for part in fields]
    else:
        a = made.args
        plain = a.args[1:]
        required: list[ast.expr | None] = [None] * (len(plain) - len(a.defaults))
        parameters = [
            *zip(plain, [*required, *a.defaults], strict=True),
            *zip(a.kwonlyargs, a.kw_defaults, strict=True),
        ]
        given = [(parameter.arg, parameter.annotation, default) for parameter, default in parameters]
        documented.append(made)
    texts = {name: text for part in documented for name, text in _described(ast.get_docstring(part) or "").items()}
    for name, annotation, default in given:
        shown = None if default is None else ast.unparse(_written_out(module, default) or default).strip("'")
        written = _written_out(module, annotation)
        yield Option(f"{section}.{name}", shown, _choices(written), texts.get(name, ""), written)


def _written_out(module: ast.Module, expression: ast.expr | None) -> ast.expr | None:
    """Return what a module-level assignment gives to a name, of a type or a default; others are unchanged."""
    if not isinstance(expression, ast.Name):
        return expression
    named = (node for node in module.body if isinstance(node, ast.Assign))
    return next((node.value for node in named if ast.unparse(node.targets[0]) == expression.id), expression)


def _choices(annotation: ast.expr | None) -> tuple[str, ...]:
    """Return the values of a ``Literal[...]`` as text; empty for other annotations."""
    if annotation is None or not re.fullmatch(r"Literal\[[^\]]*\](?: \| None)?", ast.unparse(annotation)):
        return ()
    words = (node.value for node in ast.walk(annotation) if isinstance(node, ast.Constant))
    return tuple("null" if word is None else str(word) for word in words)


def _described(docstring: str) -> dict[str, str]:
    """Return the description of each parameter or attribute in a Google docstring."""
    section = re.search(r"^(?:Args|Attributes):\n+((?:[ ]{4}.*\n?|\n)+)", docstring, re.MULTILINE)
    if section is None:
        return {}
    parts = _ENTRY.split(section[1])[1:]
    return {name: " ".join(text.replace("``", "").split()) for name, text in zip(parts[::2], parts[1::2], strict=True)}
