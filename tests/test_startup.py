import builtins
import gc
import importlib
import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from tbft.cli import main
from tbft.startup.postponed_imports import BY_LIGHTNING, BY_WANDB, postponed_imports

NOT_NEEDED = {"torch._dynamo", "torch._inductor", "sympy", "scipy.signal", "pandas", "wandb.sdk.launch"}
NOT_NEEDED |= {"triton", "torchvision", "matplotlib.pyplot"}
AS_A_PROCESS = """
import atexit, gc, json, sys

def note(phase, info):
    if phase == "start":
        walked.append(len(gc.get_objects(None if info["generation"] == 2 else 0)))

def write():
    found = {"modules": sorted(sys.modules), "walked": max(walked, default=0), "frozen": gc.get_freeze_count()}
    json.dump(found | {"thresholds": [before, gc.get_threshold()]}, open(file, "w"))

walked, before, file = [], gc.get_threshold(), sys.argv.pop(1)
gc.callbacks.append(note)
atexit.register(write)
from tbft.__main__ import main
main()
"""
AFTERWARDS = """
import sys
from tbft.startup.postponed_imports import BY_LIGHTNING, postponed_imports
with postponed_imports(BY_LIGHTNING):
    import lightning.pytorch.cli
assert not [name for name in sys.modules if name.partition(".")[0] in ("matplotlib", "torchvision", "triton")]

import torch, torchmetrics
confusion = torchmetrics.ConfusionMatrix(task="binary")
confusion(torch.tensor([0, 1]), torch.tensor([1, 1]))
figure, axes = confusion.plot(cmap="viridis")
import matplotlib.axes, matplotlib.pyplot
assert isinstance(axes, matplotlib.axes.Axes) and figure is matplotlib.pyplot.gcf()
assert torchmetrics.MetricCollection([confusion]).plot(ax=[axes])  # which checks the type of what it is given

from torchmetrics.functional.image.dists import VGG16_Weights, vgg16
import torchvision.models
assert VGG16_Weights.IMAGENET1K_V1 is torchvision.models.VGG16_Weights.IMAGENET1K_V1
with torch.device("meta"):
    assert isinstance(vgg16(), torchvision.models.VGG)

from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.utilities.model_summary import ModelSummary
network = BoringModel()
network.example_input_array = torch.zeros(2, 32)
assert ModelSummary(network).total_flops == 2 * 2 * 32 * 2
"""


def test_a_run_trains_logs_and_ends_without_what_it_does_not_need(tmp_path):
    for digit in range(10):
        folder = tmp_path / "pictures" / str(digit)
        folder.mkdir(parents=True)
        for i in range(4):
            Image.new("L", (16, 16), 20 * digit + i).save(folder / f"{i}.png")
    data = ["--config", "data/folder.yaml", "--data.root", str(tmp_path / "pictures"), "--model.base", "digits"]
    options = ["--trainer.max_epochs", "1", "--run.wandb", "offline", "--run.root", str(tmp_path)]
    command = [sys.executable, "-c", AS_A_PROCESS, str(tmp_path / "found.json"), "fit", "--config", "feature.yaml"]
    # As a process leaves it that has used Weights & Biases, and started this one.
    left = os.environ | {"WANDB_SERVICE": f"3-1-unix-{tmp_path / 'gone'}"}
    whole = [*command, *data, *options]
    done = subprocess.run(whole, env=left, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert NOT_NEEDED & set(found["modules"]) == set(), done.stderr
    assert 0 < found["walked"] < found["frozen"] / 4  # garbage is looked for, but not in what was loaded
    assert found["thresholds"][0] == found["thresholds"][1]
    (record,) = tmp_path.glob("*/result.json")
    assert json.loads(record.read_text())["steps"] > 0
    assert list(record.parent.glob("wandb/offline-run-*/*.wandb")), done.stderr


def test_what_a_run_does_not_need_works_afterwards_in_the_same_process():
    command = [sys.executable, "-c", AFTERWARDS]
    done = subprocess.run(
        command, env=os.environ | {"MPLBACKEND": "agg"}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_cell_of_a_study_loads_and_ends_as_a_command_does(tmp_path):
    (tmp_path / "runs_cells.py").write_text(
        "import atexit, gc, io, weakref\n"
        "class Hostile(io.IOBase):\n"
        "    def flush(self):\n"
        "        raise KeyError('hostile')\n"
        "def run(arguments):\n"
        "    global left\n"
        "    left = open('left.txt', 'w')\n"
        "    left.write('to the end')\n"
        "    lost, odd = open('lost.txt', 'w'), open('odd.txt', 'w')\n"
        "    odd.detach()\n"
        "    globals().update(odd=odd, proxy=weakref.proxy(lost), Hostile=Hostile())\n"
        "    atexit.register(lambda: print('frozen', gc.get_freeze_count() > 1000))\n"
        "    print(gc.get_threshold()[0] > 0, *arguments)\n"
        "    return 7\n"
    )
    command = [sys.executable, "-m", "tbft.study.running.executors.cell_process", "runs_cells:run", "fit"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    reading, writing = os.pipe()  # which the study holds open as long as it lives
    try:
        done = subprocess.run(
            command,
            stdin=reading,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert (done.returncode, done.stdout, done.stderr) == (7, "True fit\nfrozen True\n", "")
    assert (tmp_path / "left.txt").read_text() == "to the end"


SOMEBODY_ELSES = """
import gc, sys

looks = []
gc.callbacks.append(lambda phase, info: looks.append(info["generation"]))
gc.set_threshold(600, 9, 8)
{before}
was = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count() > 0
import tbft
looks.clear()
tbft.personalize
print(len(looks) < 5, "torch" in sys.modules)
assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count() > 0) == was
"""


@pytest.mark.parametrize("before", ["", "gc.disable()", "gc.freeze()"])
def test_importing_torch_looks_for_no_garbage_and_leaves_the_collector_as_it_was(before):
    command = [sys.executable, "-c", SOMEBODY_ELSES.format(before=before)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\n", "")


def test_the_collector_of_somebody_elses_process_stays_as_it_is(capsys):
    before = gc.get_threshold(), gc.get_freeze_count()
    assert main(["meter", "--seconds", "0"]) == 0
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


@pytest.fixture
def heavy(tmp_path, monkeypatch):
    (tmp_path / "heavy.py").write_text("class Kind: pass\ndef count(): return 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "heavy"
    sys.modules.pop("heavy", None)


def test_a_module_is_imported_when_more_is_asked_of_it(heavy):
    with postponed_imports({heavy: {"Kind": int}}):
        import heavy as placed

        assert placed.Kind is int and not hasattr(placed, "__file__")
        assert placed.count() == 3  # not among the answers
        assert sys.modules[heavy].Kind is not int
    import heavy as real

    assert real.Kind is not int and real.count() == 3


@pytest.fixture
def heavy_package(tmp_path, monkeypatch):
    package = tmp_path / "heavy_package"
    package.mkdir()
    (package / "__init__.py").write_text("from heavy_package import early\nKind = 1\n")
    for part in ("early", "late"):
        (package / f"{part}.py").write_text("import builtins\nbuiltins.executed.append(__name__)\nKind = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(builtins, "executed", [], raising=False)
    yield package
    for name in ("heavy_package", "heavy_package.early", "heavy_package.late"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("part", ["early", "late"])
def test_a_module_inside_a_package_is_imported_once(heavy_package, part):
    with postponed_imports({"heavy_package": {"Kind": int}}):
        import heavy_package as placed

        assert placed.Kind is int
        module = importlib.import_module(f"heavy_package.{part}")
        real = sys.modules["heavy_package"]
        assert real.Kind == 1
    assert module is sys.modules[f"heavy_package.{part}"] is getattr(real, part)
    assert module.__spec__.origin == str(heavy_package / f"{part}.py")
    assert builtins.executed.count(f"heavy_package.{part}") == 1


def test_inside_a_package_that_is_there_nothing_is_answered(heavy_package):
    import heavy_package as real

    with postponed_imports({"heavy_package": {}, "heavy_package.late": {"Kind": int}}):
        import heavy_package.late

    assert real.late.Kind == 2


def test_what_is_imported_afterwards_or_was_before_is_the_real_one(heavy):
    with postponed_imports({heavy: {"Kind": int}}):
        pass
    import heavy as real

    with postponed_imports({heavy: {"Kind": int}}):
        import heavy as again
    assert again is real and real.Kind is not int


def test_a_module_that_is_not_installed_stays_so():
    with postponed_imports({"no_such_package.part": {"name": 1}}), pytest.raises(ImportError):
        import no_such_package.part  # noqa: F401


def test_a_compiled_network_and_a_table_are_known_by_their_types():
    compiled = BY_LIGHTNING["torch._dynamo"]["OptimizedModule"]
    table = BY_WANDB["pandas"]["DataFrame"]
    network = torch.nn.Linear(2, 2)
    assert isinstance(torch.compile(network), compiled) and not isinstance(network, compiled)
    import pandas

    assert isinstance(pandas.DataFrame(), table) and not isinstance([], table)
