import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from tbft.postponed_imports import BY_LIGHTNING, BY_WANDB, postponed_imports

NOT_NEEDED = {"torch._dynamo", "torch._inductor", "sympy", "scipy.signal", "pandas", "wandb.sdk.launch"}


def test_a_run_trains_logs_and_ends_without_the_compiler_and_pandas(tmp_path):
    for digit in range(10):
        folder = tmp_path / "pictures" / str(digit)
        folder.mkdir(parents=True)
        for i in range(4):
            Image.new("L", (16, 16), 20 * digit + i).save(folder / f"{i}.png")
    code = (
        "import json, sys\n"
        "from tbft.cli import main\n"
        "code = main(sys.argv[2:])\n"
        "json.dump(sorted(sys.modules), open(sys.argv[1], 'w'))\n"
        "sys.exit(code)"
    )
    data = ["--config", "data/folder.yaml", "--data.root", str(tmp_path / "pictures"), "--model.base", "digits"]
    options = ["--trainer.max_epochs", "1", "--run.wandb", "offline", "--run.root", str(tmp_path)]
    command = [sys.executable, "-c", code, str(tmp_path / "modules.json"), "fit", "--config", "feature.yaml"]
    # As a process leaves it that has used Weights & Biases, and started this one.
    left = os.environ | {"WANDB_SERVICE": f"3-1-unix-{tmp_path / 'gone'}"}
    whole = [*command, *data, *options]
    done = subprocess.run(whole, env=left, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert NOT_NEEDED & set(modules) == set(), done.stderr
    (record,) = tmp_path.glob("*/result.json")
    assert json.loads(record.read_text())["steps"] > 0
    assert list(record.parent.glob("wandb/offline-run-*/*.wandb")), done.stderr


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
