"""The closing table says in words what a run's figures mean."""

import pytest

from tbft.runs.summary import print_summary


@pytest.fixture
def shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")

    def show(**changes):
        record = {
            "name": "run", "strategy": "block", "drift": {"level": None, "name": "unknown", "severity": None},
            "accuracy": {"base": 0.825, "validation": 0.9, "test": 0.8}, "kept": "adapted", "kept_reason": None,
            "blocks": ["fc"],
            "parameters": {"trained": 1, "total": 2}, "stopped_by": None, "void": None,
            "energy_source": {"measured": False}, "environment": {"number_format": "channels_last"},
            **{figure: {"adaptation": 1.0} for figure in ("joules", "cpu_seconds", "wall_seconds")},
        }  # fmt: skip
        print_summary({**record, **changes}, tmp_path)
        return capsys.readouterr().out

    return show


def test_a_loss_on_the_test_images_is_said_in_words(shown):
    assert "2.5 points lost on the test images" in shown()
    assert "lost" not in shown(accuracy={"base": 0.8, "test": 0.8})
    assert "lost" not in shown(accuracy={"base": None, "test": 0.8})
    assert "lost" not in shown(accuracy={"base": None, "test": None})


def test_without_labels_no_validation_is_said_to_have_found_anything(shown):
    told = shown(accuracy={"base": 0.06, "validation": None, "test": 0.03})
    assert "3.0 points lost on the test images, and no validation image was there to show it" in told
    assert "though validation found" in shown() and "though validation" not in told


def test_why_the_base_was_kept_is_said(shown):
    told = shown(kept="base", kept_reason="7 of 10 validation images are right, 8 with the base")
    assert "the base model: 7 of 10 validation images are right" in told and "lost" not in told


def test_the_number_format_is_said_where_it_is_not_fp32(shown):
    assert "bfloat16" in shown(environment={"number_format": "bf16"}) and "bfloat16" not in shown()


def test_what_was_found_done_and_is_next_is_said_where_nobody_named_the_drift(shown):
    steps = [(["keep"], True), (["refresh"], True), (["refresh", "head"], False), (["refresh", "align"], True)]
    steps += [(["feature block"], True), (["full"], False)]
    told = shown(
        strategy="auto",
        drift={"level": None, "name": "unknown", "severity": None, "diagnosed": ["input", "prior"]},
        diagnosis={
            "verdict": "adapt",
            "reason": "",
            "advice": ["use refresh", "collect 20 labels more"],
            "left": {"value": 0.06, "low": 0.03, "high": 0.1},
        },
        remedies=[{"remedies": names, "accepted": accepted} for names, accepted in steps],
    )
    assert "drift at input level and in the class shares" in told
    done = "statistics are refreshed; the front block is aligned to the source; the last stage is trained"
    assert done in told and "whole network" not in told
    assert "6 points [3, 10] below the source's accuracy are left; collect 20 labels more" in told


def test_a_verdict_that_changes_nothing_is_said(shown):
    told = shown(
        strategy="auto",
        kept="base",
        drift={"level": None, "name": "unknown", "severity": None, "diagnosed": []},
        diagnosis={"verdict": "cannot tell", "reason": "cannot tell: 3 labels are few", "advice": [], "left": None},
        remedies=[{"remedies": ["head"], "accepted": True}],
    )
    assert "cannot tell: 3 labels are few" in told and "nothing: the base model is kept" in told
    assert "solved" not in told  # validation refused it
