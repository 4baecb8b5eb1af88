"""An installed copy has every part of the package, and the parts depend on one another in one direction."""

import ast
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_folder_of_code_is_installed():
    named = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "tbft").rglob("*.py")}
    assert named - {"tbft.configs"} == folders


def imports(file, modules):
    """The modules of tbft that a file imports, within functions too; what only type checkers read does not count."""
    waiting = [ast.parse(file.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            parts = [f"{node.module}.{name.name}" for name in node.names]
            yield from (part if part in modules else node.module for part in parts)


def test_no_module_imports_another_one_that_needs_it():
    files = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in (ROOT / "tbft").rglob("*.py")}
    modules = {name.removesuffix(".__init__"): file for name, file in files.items()}
    graph = {name: {*imports(file, modules)} - {name} for name, file in modules.items()}
    assert len([*TopologicalSorter(graph).static_order()]) == len(modules)  # a circle raises, and names it
