"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).parent.parent / "README.md"


def python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_first_screen_runs(tmp_path, monkeypatch, capsys):
    timm = pytest.importorskip("timm")
    from tbft.data import Digits

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(timm.create_model("mobilenetv3_small_100", num_classes=10).state_dict(), "base.pt")
    data = Digits(image_size=16, train_size=40, test_size=4)
    data.setup()
    given = {"images": data.train.x.numpy(), "labels": data.train.y.tolist(), "new_images": data.test.x.numpy()}
    exec(compile(python_blocks()[0], str(README), "exec"), given)  # what stands there, and nothing else
    printed = capsys.readouterr().out
    assert "feature level" in printed and "CPU-s" in printed and Path("better.safetensors").is_file()
    assert len(given["better"].predict(given["new_images"])) == 4
