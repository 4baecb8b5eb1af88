"""The number format follows from the hardware, not from a clock, and every format computes the same network."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from tbft.data.batches import Batch
from tbft.models import number_format
from tbft.models.number_format import FORMATS, NumberFormat, resolve_format
from tbft.module import ImageClassifier

pytestmark = pytest.mark.numbers

CPU = torch.device("cpu")
PLAIN, LAST, HALF = NumberFormat(False, False), NumberFormat(True, False), NumberFormat(True, True)


@pytest.fixture
def processor(monkeypatch):
    """Makes this processor look like another one."""

    def be(machine, features, capability="AVX512"):
        for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(number_format, "platform", SimpleNamespace(machine=lambda: machine))
        monkeypatch.setattr(number_format, "_processor_features", lambda: set(features.split()))
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)

    return be


@pytest.mark.parametrize(
    ("machine", "features", "capability", "expected"),
    [
        ("x86_64", "avx2 avx512f avx512_bf16", "AVX512", HALF),
        ("x86_64", "avx2 avx512f amx_bf16", "AVX512", HALF),
        ("x86_64", "avx2 avx512f", "AVX512", LAST),
        ("x86_64", "avx2", "AVX2", LAST),
        ("x86_64", "avx2 avx512f avx512_bf16", "AVX2", LAST),  # ATEN_CPU_CAPABILITY=avx2
        ("aarch64", "fp asimd bf16", "DEFAULT", HALF),
        ("aarch64", "fp asimd crc32 cpuid", "DEFAULT", LAST),  # Raspberry Pi 4
        ("aarch64", "avx512f avx512_bf16", "DEFAULT", LAST),  # an emulator that shows its host's features
        ("arm64", "", "DEFAULT", LAST),
    ],
)
def test_the_cheapest_is_what_the_processor_can_do(processor, machine, features, capability, expected):
    processor(machine, features, capability)
    assert resolve_format("cheapest", CPU) == expected


def test_depthwise_convolutions_are_cheapest_in_fp32_on_a_processor(processor, monkeypatch):
    processor("x86_64", "avx2 avx512f avx512_bf16", "AVX512")
    depthwise = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, groups=8))
    assert resolve_format("cheapest", CPU, depthwise) == LAST and resolve_format("bf16", CPU, depthwise) == HALF
    for groups in (1, 2):  # a RegNet's groups have several channels
        assert resolve_format("cheapest", CPU, torch.nn.Conv2d(8, 8, 3, groups=groups)) == HALF
    assert resolve_format("cheapest", CPU, torch.nn.Conv2d(1, 8, 3)) == HALF  # one channel is not several on their own
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert resolve_format("cheapest", torch.device("cuda"), depthwise) == HALF


@pytest.mark.parametrize(
    ("limit", "expected"), [("AVX2", LAST), ("avx512_core", LAST), ("AVX512_CORE_BF16", HALF), ("ALL", HALF)]
)
def test_a_limit_on_the_instruction_set_is_honoured(processor, monkeypatch, limit, expected):
    processor("x86_64", "avx2 avx512f avx512_bf16")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert resolve_format("cheapest", CPU) == expected


def test_a_machine_that_is_told_to_compute_as_avx2_has_no_bfloat16():
    code = "import torch; from tbft.models.number_format import *; "
    code += "print(resolve_format('cheapest', torch.device('cpu')).name)"
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.PIPE, text=True)
    assert done.stdout.strip() == "channels_last"


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), HALF), ((8, 0), HALF), ((7, 5), PLAIN)])
def test_a_gpu_computes_in_bfloat16_where_it_has_it(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_format("cheapest", torch.device("cuda")) == expected


def test_a_format_that_is_named_is_that_one_everywhere():
    for name in ("plain", "channels_last", "bf16"):
        assert resolve_format(name, CPU) == FORMATS[name] and FORMATS[name].name == name


def test_the_chosen_format_stands_in_the_runs_configuration_and_in_no_cache(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chosen = resolve_format("cheapest", CPU).name
    hashes = set()
    for name in ("cheapest", chosen):
        code, record = run(
            "fit", "--config", "output.yaml", "--run.test", "false", "--model.number_format", name, name=name
        )
        assert code == 0 and record["environment"]["number_format"] == chosen
        assert yaml.safe_load(Path(f"runs/{name}/config.yaml").read_text())["model"]["number_format"] == chosen
        hashes.add(record["config_hash"])
    assert len(hashes) == 1 and not (tmp_path / "cache" / "tbft").exists()


def test_each_format_computes_the_same_network():
    batch = Batch(
        torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.zeros(8, dtype=torch.long)
    )
    logits = {}
    for how in (PLAIN, LAST, HALF):
        module = ImageClassifier(base="digits").eval()
        module.compute_in(how)
        with torch.no_grad():
            logits[how] = module(batch)
        assert logits[how].dtype == torch.float32
        assert module.model.head.weight.dtype == torch.float32
    assert torch.allclose(logits[LAST], logits[PLAIN], atol=1e-4)
    assert torch.equal(logits[HALF].argmax(1), logits[PLAIN].argmax(1))
    assert not torch.equal(logits[HALF], logits[LAST])
