"""A record says which revision of tbft made it."""

import subprocess
from pathlib import Path

import pytest

from tbft import version
from tbft.runs.revision import revision


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a package of one file, which stands for tbft."""
    (tmp_path / "tbft").mkdir()
    (tmp_path / "tbft" / "__init__.py").write_text("")
    (tmp_path / "README.md").write_text("")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.setattr(version, "__file__", str(tmp_path / "tbft" / "version.py"))
    return tmp_path


def newly_read() -> str:
    revision.cache_clear()
    return revision()


@pytest.fixture(autouse=True)
def forget() -> None:
    yield
    revision.cache_clear()


def test_a_clone_is_told_by_its_commit_and_whether_code_was_changed(clone: Path) -> None:
    commit = newly_read()
    assert len(commit) == 12 and int(commit, 16) >= 0
    (clone / "README.md").write_text("another text")
    (clone / "tbft" / "untracked.txt").touch()
    assert newly_read() == commit
    (clone / "tbft" / "__init__.py").write_text("CHANGED = True\n")
    assert newly_read() == f"{commit}+changes"


def test_an_installed_package_is_told_by_its_version(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = clone / "venv" / "tbft" / "version.py"
    monkeypatch.setattr(version, "__file__", str(inside))
    assert newly_read() == version.__version__
