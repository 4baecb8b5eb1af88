"""What the README shows runs as it stands there, and its links lead somewhere."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from bare_trainer import bare_trainer
from foreign_project import SmallNet, TheirData, TheirModule

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "notebooks" / "ledgers" / "README.md"]


def run_block(containing: str, given: dict[str, Any]) -> None:
    """Run what stands in the one Python block that contains some words, and nothing else."""
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if containing in block]
    exec(compile(block, str(README), "exec"), given)


def test_the_first_screen_runs(tmp_path, monkeypatch, capsys):
    timm = pytest.importorskip("timm")
    from tbft.data import Digits

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(timm.create_model("mobilenetv3_small_100", num_classes=10).state_dict(), "base.pt")
    data = Digits(image_size=16, train_size=40, test_size=4)
    data.setup()
    given = {"images": data.train.x.numpy(), "labels": data.train.y.tolist(), "new_images": data.test.x.numpy()}
    run_block("tbft.personalize", given)
    printed = capsys.readouterr().out
    assert "found " in printed and "CPU-s" in printed and Path("better.safetensors").is_file()
    assert len(given["better"].predict(given["new_images"])) == 4


def test_the_callbacks_run_in_somebody_elses_project(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    module = TheirModule(SmallNet())
    bare_trainer(max_epochs=6).fit(module, datamodule=TheirData(drifted=False))
    target = TheirData(drifted=True)
    given = {"module": module, "train": target.train_dataloader(), "val": target.val_dataloader()}
    run_block("tbft.callbacks", given)
    before, after, joules = re.findall(r"(\d+)% -> (\d+)%, ([\d.]+) J", capsys.readouterr().out)[0]
    assert int(after) > int(before) + 20 and float(joules) > 0


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_heading_stands_twice(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(set(headings))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    assert links
    for link in [link for link in links if not link.startswith("https://")]:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors_of(target), link
