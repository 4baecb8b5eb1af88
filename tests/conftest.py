"""What all tests share: runs in a folder of their own, without Weights & Biases, quietly."""

import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
# Two processes test at once, and threads that wait for one another spin. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command line in-process, in an empty folder; give its exit code and its record, if there is one."""
    import torch

    from tbft.cli import main

    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()

    def command(*args: str, name: str = "run", wandb: str = "off") -> tuple[int, dict]:
        if args[0] == "fit":
            args = (args[0], "--energy.plot", "false", *args[1:])  # a picture takes longer than many a run here
            args = (*args, "--run.name", name, "--run.wandb", wandb, "--trainer.enable_progress_bar", "false")
        code = main([*args])
        record = Path("runs") / name / "result.json"
        return code, json.loads(record.read_text()) if record.is_file() else {}

    yield command
    torch.set_num_threads(threads)  # a preset may ask for others
