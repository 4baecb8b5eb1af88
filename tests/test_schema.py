"""What all parts of tbft agree on is said once, and costs nothing to import."""

import doctest
import subprocess
import sys
from types import ModuleType

import pytest

from tbft import cli, schema
from tbft.energy.metering.record import by_phase
from tbft.models import LEVELS as LEVELS_OF_MODELS
from tbft.models import build
from tbft.schema import ADAPTATION, LEVELS, PHASES, RunRecord, block_of
from tbft.study.reporting import chart_style, energy_figures
from tbft.study.running import cell_options


def test_the_schema_imports_the_standard_library_alone() -> None:
    code = "import sys; before = set(sys.modules); import tbft.schema; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    outside = {name.split(".")[0] for name in done.stdout.split()} - sys.stdlib_module_names
    assert outside == {"tbft"}


def test_the_block_of_a_level_depends_on_the_stages_of_the_network() -> None:
    for name, last in (("resnet8", "block3"), ("resnet18", "block4")):
        network = build(name, num_classes=2, image_size=16)
        chosen = [block_of(level, network.blocks) for level in LEVELS]
        assert chosen == [network.block_of(level) for level in LEVELS_OF_MODELS] == ["block1", last, "fc"]


def test_costs_are_booked_to_the_phases_of_the_schema() -> None:
    assert list(by_phase({}, "total")) == [*PHASES, "adaptation"]
    assert set(PHASES) - set(ADAPTATION) == {"test"}


UNNAMED_DRIFT = {"remedies", "diagnosis"}


def test_a_run_records_the_fields_that_the_schema_names(run) -> None:
    code, record = run("fit", "--config", "output.yaml", "--data.train_size", "40")
    assert code == cli.DONE
    assert RunRecord.__annotations__.keys() - record.keys() == UNNAMED_DRIFT | {"shared_machine"}
    assert record.keys() <= RunRecord.__annotations__.keys()
    assert record["level_block"] == "fc"


@pytest.mark.parametrize("module", [schema, cell_options, chart_style, energy_figures])
def test_the_examples_in_docstrings_hold(module: ModuleType) -> None:
    tried = doctest.testmod(module)
    assert tried.attempted > 0 and tried.failed == 0
