"""A bundle is whole, of this version and ours, or it is refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from exported import bundle_bytes, pictures, write_bundle, write_pictures

from tbft.device import load
from tbft.device.bundle import Bundle
from tbft.device.runtime import refuse_crashing_release
from tbft.errors import BadInput

WITHOUT_TORCH = """
import sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {forbidden}:
            raise ImportError(f"{{name}} is not on a device", name=name)
sys.meta_path.insert(0, Forbid())
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tbft.device.command import main
folder = sys.argv[2]
codes = [main([*words.split(), *more], Path(sys.argv[1])) for words, more in (
    ("info", []), ("predict", [folder]), ("adapt --level input", [folder]), ("adapt --level feature", [folder]),
    ("adapt --level output", [folder]), ("adapt --level input --unlabelled", [folder]), ("adapt", [folder]),
    ("diagnose", [folder]), ("revert", []))]
import tbft.device
assert tbft.device.__file__.startswith(sys.argv[1]), tbft.device.__file__
assert "codecarbon" not in sys.modules
print("codes", codes)
"""


def test_a_device_needs_no_torch(tmp_path: Path) -> None:
    """numpy, onnxruntime and Pillow are enough: nothing else that the large tool depends on can be imported."""
    forbidden = {"torch", "lightning", "torchvision", "onnx", "onnxscript", "safetensors", "sklearn", "scipy"}
    forbidden |= {"psutil", "rich", "yaml", "jsonargparse", "filelock", "wandb", "matplotlib"}
    bundle = write_bundle(tmp_path)
    folder = write_pictures(tmp_path / "mine", "input", tuple("0123456789"))
    program = WITHOUT_TORCH.format(forbidden=sorted(forbidden))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(bundle), str(folder)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert "codes [0, 0, 0, 0, 0, 0, 0, 0, 0]" in done.stdout, done.stdout + done.stderr


def test_weights_stand_in_a_bundle_once(tmp_path: Path) -> None:
    bundle = Bundle(write_bundle(tmp_path))
    weights = sum(value.nbytes for value in bundle.weights.values())
    with zipfile.ZipFile(bundle.path) as file:
        graphs = {entry.filename: entry.file_size for entry in file.infolist() if entry.filename.startswith("graphs/")}
    assert set(graphs) == {
        f"graphs/{name}.onnx"
        for name in ("forward", "statistics", "prefix.block3", "step.block3", "evaluate.block3", "align")
    }
    assert sum(graphs.values()) < weights / 2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_bundle_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    content = bundle_bytes()
    (tmp_path / "pet.pyz").write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInput, match="is cut short or changed"):
        load(tmp_path / "pet.pyz")


def test_a_changed_byte_is_found_wherever_it_is(tmp_path: Path) -> None:
    content = bundle_bytes()
    path = tmp_path / "pet.pyz"
    with zipfile.ZipFile(write_bundle(tmp_path)) as file:
        members = [(e.filename, e.header_offset + 30 + len(e.filename), e.compress_size) for e in file.infolist()]
    for _, start, size in members:
        changed = bytearray(content)
        changed[start + size // 2] ^= 0x10
        path.write_bytes(changed)
        with pytest.raises(BadInput, match="changed"):
            load(path).info()


def test_other_files_are_no_bundles(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.pyz", "w") as file:
        file.writestr("__main__.py", "print('hello')")
    with pytest.raises(BadInput, match="is no bundle of tbft"):
        load(tmp_path / "other.pyz")
    with pytest.raises(BadInput, match="there is no bundle"):
        load(tmp_path / "missing.pyz")
    with pytest.raises(BadInput, match="there is no bundle"):
        load(tmp_path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    bundle = Bundle(write_bundle(tmp_path))
    manifest = {**bundle.manifest, "format": 99}
    with zipfile.ZipFile(tmp_path / "later.pyz", "w") as file:
        file.writestr("manifest.json", json.dumps(manifest))
    with pytest.raises(BadInput, match="is of format 99, and this code reads 3"):
        load(tmp_path / "later.pyz")


@pytest.mark.parametrize("release", ["1.22.0", "1.24.3", "1.26.1", None])
def test_releases_that_run_on_old_boards_are_taken(release: str | None) -> None:
    refuse_crashing_release(release)


@pytest.mark.parametrize("release", ["1.21.1", "1.27.0", "2.0.0", "nightly"])
def test_releases_that_crash_on_old_boards_are_refused_before_they_do(release: str) -> None:
    with pytest.raises(BadInput, match=r'pip install "onnxruntime>=1\.22,<1\.27"'):
        refuse_crashing_release(release)


def test_the_card_in_a_models_file_is_enough_to_align_by(tmp_path: Path) -> None:
    from tbft.export.command import export_model

    device = load(export_model("digits", tmp_path / "card.pyz"))
    assert not device.info()["left_out"]
    pixels, _ = pictures("input")
    record = device.personalize(pixels, level="input", labelled=False)
    assert record["kept"] == "adapted" and record["drift"]["level"] == "input"
