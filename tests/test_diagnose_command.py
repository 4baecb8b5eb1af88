"""``diagnose`` says what drifted and changes nothing, from the command line and from Python alike."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from PIL import Image

import tbft
from tbft.data.digits import Digits
from tbft.errors import BadInput
from tbft.models import build

DRIFT = ("--data.corruption", "contrast", "--data.label_map", "flip", "--data.train_size", "150")


@pytest.fixture(scope="module")
def device():
    data = Digits(image_size=16, train_size=150, corruption="contrast", label_map="flip")
    data.setup()
    return torch.cat([data.train.x, data.val.x]), torch.cat([data.train.y, data.val.y])


def test_the_command_prints_a_table_or_json_and_leaves_nothing(run, capsys):
    assert run("diagnose", "--config", "auto.yaml", *DRIFT)[0] == 0
    out = capsys.readouterr().out
    assert out.startswith("drift     input, output") and "refresh + relabel" in out and "- use " in out
    assert run("diagnose", "--config", "auto.yaml", *DRIFT, "--json")[0] == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["training_passes"]) == {"align", "input block", "feature block", "full"}
    assert {"input", "output"} <= set(found["levels"]) and found["images"] == 150 and found["labelled"]
    assert not list(Path().iterdir())


def test_a_base_model_may_lie_in_the_working_folder_under_the_name_of_a_runs_weights(run, capsys):
    assert run("fit", "--config", "output.yaml", "--run.test", "false")[0] == 0
    Path("model.safetensors").write_bytes(Path("runs/run/model.safetensors").read_bytes())
    assert run("diagnose", "--config", "auto.yaml", *DRIFT, "--model.base", "model.safetensors")[0] == 0
    capsys.readouterr()
    assert run("diagnose", "--config", "runs/run/config.yaml")[0] == 2
    assert "runs/run/config.yaml is of a run" in capsys.readouterr().err


def test_the_command_draws_a_picture_where_it_is_asked_to(run, capsys):
    assert run("diagnose", "--config", "auto.yaml", *DRIFT, "--plot", "diagnosis.png")[0] == 0
    assert "picture   diagnosis.png" in capsys.readouterr().out
    assert [file.name for file in Path().iterdir()] == ["diagnosis.png"]
    assert Path("diagnosis.png").read_bytes()[1:4] == b"PNG"


def test_new_pictures_need_neither_labels_nor_a_data_set(device, run, capsys):
    for i, pixels in enumerate(device[0][:60]):
        file = Path("new") / "deep" / f"{i:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file)
    Path("new/broken.jpg").write_bytes(b"no picture")
    options = ("--config", "data/folder.yaml", "--data.root", "gone", "--model.number_format", "channels_last")
    assert run("diagnose", "--config", "auto.yaml", *options, "--images", "new", "--json")[0] == 0
    told, complaint = capsys.readouterr()
    assert json.loads(told) == json.loads(json.dumps(tbft.diagnose("digits", device[0][:60]).as_dict()))
    assert "not read: new/broken.jpg" in complaint


def test_python_tells_what_the_command_tells(device, run, capsys):
    run("diagnose", "--config", "auto.yaml", *DRIFT, "--json", "--model.number_format", "channels_last")
    told, found = json.loads(capsys.readouterr().out), tbft.diagnose("digits", *device)
    assert isinstance(found, tbft.Diagnosis)
    assert (told["verdict"], told["levels"]) == (found.verdict, list(found.levels))
    assert told["accuracy"] == json.loads(json.dumps(found.as_dict()))["accuracy"]


def test_nothing_changes_in_the_model_that_is_asked(device):
    network = build("resnet8", num_classes=10, image_size=16)
    network.train()
    before = deepcopy(network.state_dict())
    tbft.diagnose(network, *device, mean=[0.5], std=[0.5])
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert network.training and all(p.requires_grad for p in network.parameters())


def test_without_labels_it_says_whether_labels_are_worth_it(device):
    found = tbft.diagnose("digits", device[0])
    assert not found.labelled and found.accuracy is not None
    assert "fallen into a few classes" in found.reason and any("labels" in sentence for sentence in found.advice)
    assert str(found) == found.table()
    nothing = tbft.diagnose(build("resnet8", num_classes=10, image_size=16), device[0], mean=[0.5], std=[0.5])
    assert nothing.verdict == "cannot tell" and "source card" in nothing.reason


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--model.base", "none_such"], "no base model"),
        (["--to", "x"], "does not know --to"),
        (["--plot", "x.gif"], "ends in .png or .svg"),
        (["--plot"], "--plot"),
        (["--images", "gone"], "gone is no folder"),
        (["--config", "base/digits.yaml", "--model.base", "null"], "model.base"),
    ],
)
def test_bad_input_is_one_line(run, capsys, args, says):
    assert run("diagnose", "--config", "auto.yaml", *args)[0] == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("tbft: ") and any(part in error for part in says.split("|"))


def test_labels_that_are_no_classes_are_refused(device):
    with pytest.raises(BadInput, match="is no class"):
        tbft.diagnose("digits", device[0], device[1] + 11)


def test_few_labels_are_a_verdict_and_what_cannot_be_written_is_said(run, capsys):
    assert run("diagnose", "--config", "auto.yaml", "--data.train_size", "3")[0] == 0
    assert "cannot tell" in capsys.readouterr().out
    source = ("--config", "data/digits.yaml", "--data.domain", "source", "--model.base", "digits")
    assert run("card", *source, "--to", "nowhere/base.safetensors")[0] == 2
    assert "give another --to" in capsys.readouterr().err
