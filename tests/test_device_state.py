"""What a device has adapted is never lost, and never taken for that of another model."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exported import write_bundle

import tbft.device.state
from tbft.device.bundle import Bundle
from tbft.device.state import KEPT, Delta, StateFolder, read_delta
from tbft.device.tensors import read_tensors, write_tensors
from tbft.errors import BadInput

KEY = "fc.bias"


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(Bundle(write_bundle(tmp_path)))


def biased(value: float) -> dict[str, np.ndarray]:
    return {KEY: np.full(10, value, np.float32)}


def keep(state: StateFolder, value: float) -> str:
    with state.locked():
        return state.keep(biased(value), {"strategy": "test"})


def counted(state: StateFolder) -> float | None:
    tensors = state.current()
    return float(tensors[KEY][0]) if tensors else None


def test_tensors_are_what_safetensors_reads_and_writes() -> None:
    from safetensors.numpy import load, save

    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7, np.int64), "c": np.zeros((0, 2))}
    for content in (write_tensors(tensors), save(tensors)):
        for found in (read_tensors(content)[0], load(content)):
            assert {key: value.tolist() for key, value in found.items()} == {k: v.tolist() for k, v in tensors.items()}
    assert read_tensors(write_tensors(tensors, {"kind": "delta"}))[1] == {"kind": "delta"}


def test_the_latest_adaptation_counts_and_revert_goes_back(state: StateFolder) -> None:
    assert counted(state) is None
    first, second = keep(state, 1.0), keep(state, 2.0)
    assert counted(state) == 2.0
    with state.locked():
        state.revert(first)
    assert counted(state) == 1.0
    with state.locked():
        state.revert()
    assert counted(state) is None
    assert [entry["name"] for entry in state.history()] == [first, second]
    with state.locked(), pytest.raises(BadInput, match="there is no adaptation '9999'"):
        state.revert("9999")


def test_the_last_few_adaptations_are_kept(state: StateFolder) -> None:
    names = [keep(state, float(i)) for i in range(KEPT + 2)]
    assert [entry["name"] for entry in state.history()] == names[-KEPT:]
    assert sorted(path.stem for path in state.folder.glob("*.delta")) == names[-KEPT:]


@pytest.mark.parametrize("writes", range(3))
def test_a_full_card_leaves_the_adaptation_before(state: StateFolder, monkeypatch, writes: int) -> None:
    keep(state, 1.0)
    real, left = tbft.device.state.write_bytes, [writes]

    def write(path: Path, content: bytes) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        real(path, content)

    monkeypatch.setattr(tbft.device.state, "write_bytes", write)
    monkeypatch.setattr(tbft.device.state, "write_text", lambda path, text: write(path, text.encode()))
    with pytest.raises(BadInput, match=r"No space left on device.*make room"):
        keep(state, 2.0)
    assert counted(state) == 1.0
    assert [path.name for path in state.folder.glob("*.delta")] == ["0001.delta"]  # a failure takes no room


def test_one_process_adapts_at_a_time(state: StateFolder) -> None:
    with (
        state.locked(),
        pytest.raises(BadInput, match="another process adapts"),
        StateFolder(state.bundle).locked(),
    ):
        pass
    with state.locked():
        pass


def test_a_killed_process_leaves_the_state_whole_and_the_lock_free(state: StateFolder) -> None:
    keep(state, 0.5)
    program = (
        "import sys, numpy as np; from pathlib import Path; from tbft.device.bundle import Bundle\n"
        "from tbft.device.state import StateFolder\n"
        "state = StateFolder(Bundle(Path(sys.argv[1])))\n"
        "with state.locked():\n"
        "    for i in range(1, 100000):\n"
        "        state.keep({'fc.bias': np.full(10, i, np.float32)}, {'strategy': 'test'})\n"
        "        print(i, flush=True)\n"
    )
    for seed in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(state.bundle.path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(2 + seed):
            said = process.stdout.readline()
        process.kill()
        rest = process.stdout.read().split()
        process.wait()
        last = int((rest or [said])[-1])
        assert counted(state) in (last, last + 1)
    before = counted(state)
    keep(state, 7.5)
    assert counted(state) == 7.5 != before
    assert not list(state.folder.glob(".*.*"))  # what was half-written is gone


def test_a_delta_belongs_to_its_base(tmp_path: Path, state: StateFolder) -> None:
    (tmp_path / "other").mkdir()
    other = Bundle(write_bundle(tmp_path / "other", "digits_superclasses"))
    content = Delta(biased(1.0), state.bundle.fingerprint).to_bytes()
    assert read_delta(content, "better.delta", state.bundle).tensors[KEY][0] == 1.0
    with pytest.raises(BadInput, match=r"better\.delta belongs to another base model"):
        read_delta(content, "better.delta", other)
    keep(state, 1.0)
    state.folder.rename(tmp_path / "other" / "pet.state")
    with pytest.raises(BadInput, match="belongs to another base model"):
        StateFolder(other).current()


def test_a_changed_or_unfitting_delta_is_refused(state: StateFolder) -> None:
    content = Delta(biased(1.0), state.bundle.fingerprint).to_bytes()
    changed = content[:-1] + bytes([content[-1] ^ 1])
    for bad in (changed, content[:-4], content[:6], b"", write_tensors(biased(1.0))):
        with pytest.raises(BadInput, match=r"better\.delta is no delta"):
            read_delta(bad, "better.delta", state.bundle)
    for tensors in ({KEY: np.zeros(9, np.float32)}, {"fc.gone": np.zeros(10, np.float32)}, biased(np.nan)):
        with pytest.raises(BadInput, match="does not fit the base model"):
            read_delta(Delta(tensors, state.bundle.fingerprint).to_bytes(), "better.delta", state.bundle)


@pytest.mark.parametrize(
    "change", [{"base": 3}, {"current": "0009"}, {"history": 7}, {"last": "x"}, {"current": ["0001"]}, None]
)
def test_any_damage_is_told_and_mended_by_revert(state: StateFolder, change: dict | None) -> None:
    keep(state, 1.0)
    path = state.folder / "current.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change} if change else [1]))
    for answer in (state.current, state.history, lambda: keep(state, 2.0)):
        with pytest.raises(BadInput, match=r"cannot be read .*: run revert, which goes back to the base model"):
            answer()
    with state.locked():
        state.revert()
    assert counted(state) is None
    assert keep(state, 3.0) == "0002" and counted(state) == 3.0


def test_a_damaged_state_says_so_and_revert_mends_it(state: StateFolder) -> None:
    name = keep(state, 1.0)
    (state.folder / f"{name}.delta").write_bytes(b"damaged")
    with pytest.raises(BadInput, match="revert"):
        state.current()
    (state.folder / "current.json").write_text("{")
    with pytest.raises(BadInput, match="revert"):
        state.current()
    with state.locked():
        state.revert()
    assert counted(state) is None
    assert keep(state, 3.0) > name
