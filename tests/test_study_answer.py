"""The sentence that a page leads with says what the records say, also where that is not flattering."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from study_stand_in import record, write_record

from tbft.study.reporting.answer_words import Answer, answer
from tbft.study.reporting.apart import set_apart
from tbft.study.reporting.ledger_reading import read_ledger
from tbft.study.reporting.results import Results

QUIET = {"other_programs_threads": 0.0}
BUSY = {"other_programs_threads": 1.0}


def write_run(root: Path, strategy: str, accuracy: float, cost: float, seed: int = 0, **changes: Any) -> None:
    """A run with its accuracy and with its joules, which are four times its CPU-seconds."""
    level = changes.pop("level", "input")
    content = record(level, strategy, seed, changes.pop("train_size", 1000))
    content["accuracy"] = {"base": 0.4, "validation": accuracy, "test": accuracy}
    content["joules"], content["cpu_seconds"] = {"adaptation": 4 * cost}, {"adaptation": cost}
    content |= {"conditions": QUIET, **changes}
    write_record(root, f"{level}-{strategy}-{content['dataset']}-{content['train_size']}-{seed}", content)


def write_pairs(root: Path, gains: tuple[float, ...], ratios: tuple[float, ...], **changes: Any) -> None:
    """One pair of runs for each seed: ours above the opponent by a gain, at a part of its cost."""
    for seed, (gain, ratio) in enumerate(zip(gains, ratios, strict=True)):
        write_run(root, "tuned-full", 0.6, 20.0, seed, **changes)
        write_run(root, "block", 0.6 + gain, 20.0 * ratio, seed, **changes)


def answer_of(root: Path) -> Answer:
    return answer(set_apart(Results(read_ledger(root)[0])))


def test_it_says_what_is_reached_and_saved_with_intervals(tmp_path: Path) -> None:
    gains, ratios = (0.10, 0.12, 0.11), (0.2, 0.25, 0.22)
    write_pairs(tmp_path, gains, ratios)
    points = scipy.stats.ttest_1samp([100 * gain for gain in gains], 0).confidence_interval()
    logs = scipy.stats.ttest_1samp(np.log(ratios), 0).confidence_interval()
    low, high = (100 * (1 - np.exp(end)) for end in (logs.high, logs.low))
    assert answer_of(tmp_path).sentence == (
        "At input level TBFT brings the accuracy from 40.0 to 71.0 %, "
        f"11.0 points [{points.low:.1f}, {points.high:.1f}] more than full fine-tuning at its best, "
        f"for {100 * (1 - scipy.stats.gmean(ratios)):.1f} % [{low:.1f}, {high:.1f}] less energy."
    )


def test_it_says_that_ours_loses(tmp_path: Path) -> None:
    ratios = (1.4, 1.5, 1.6)
    write_pairs(tmp_path, (-0.10, -0.12, -0.11), ratios)
    logs = scipy.stats.ttest_1samp(np.log(ratios), 0).confidence_interval()
    more, low, high = (100 * (ratio - 1) for ratio in (scipy.stats.gmean(ratios), np.exp(logs.low), np.exp(logs.high)))
    told = answer_of(tmp_path).sentence
    assert "11.0 points [8.5, 13.5] less than full fine-tuning at its best" in told
    assert told.endswith(f"for {more:.1f} % [{low:.1f}, {high:.1f}] more energy.")


def test_what_chance_explains_is_not_called_a_difference(tmp_path: Path) -> None:
    write_pairs(tmp_path, (-0.01, 0.03, 0.01), (0.5, 1.5, 1.0))
    told = answer_of(tmp_path).sentence
    assert "no clear difference from full fine-tuning at its best (+1.0 points [-4.0, 6.0])" in told
    assert "for a cost not clearly lower" in told


def test_one_pair_of_runs_shows_no_difference(tmp_path: Path) -> None:
    write_pairs(tmp_path, (0.2,), (0.5,))
    told = answer_of(tmp_path).sentence
    assert "no clear difference" in told and "(+20.00 points, one seed)" in told
    assert "50.00 % less energy (one pair of runs)" in told


def test_levels_are_told_one_after_another_without_repeating(tmp_path: Path) -> None:
    for level in ("output", "input"):
        write_pairs(tmp_path, (0.1, 0.12), (0.2, 0.22), level=level)
    first, second = answer_of(tmp_path).clauses
    assert first.startswith("At input level TBFT brings") and first.endswith("less energy;")
    assert second.startswith("at output level from 40.0 to 71.0 %") and second.endswith("less.")


def test_energy_that_other_programs_are_in_gives_way_to_processor_time(tmp_path: Path) -> None:
    write_pairs(tmp_path, (0.1, 0.12), (0.2, 0.22), conditions=BUSY)
    found = answer_of(tmp_path)
    assert "less processor time" in found.sentence and "energy" not in found.sentence
    assert any("other programs" in note for note in found.notes)


def test_what_the_whole_process_saves_comes_first_where_it_is_known(tmp_path: Path) -> None:
    for seed in range(3):
        for strategy, cost in (("tuned-full", 40.0), ("block", 10.0 + seed)):
            test = {"cpu_seconds": 5.0, "joules": 20.0}
            whole = {"since": "process start", "until": "exit", "cpu_seconds": cost + 5, "joules": 2 * cost + 20}
            write_run(tmp_path, strategy, 0.6, cost / 2, seed, process={**whole, "test": test})
    found = answer_of(tmp_path)
    saved = 100 * (1 - scipy.stats.gmean([10 / 40, 11 / 40, 12 / 40]))
    assert f"for {saved:.1f} % [" in found.sentence and "less energy of the whole process" in found.sentence
    (basis,) = (note for note in found.notes if "testing left out" in note)
    assert f"Of the adaptation alone (prepare, train, validate, save): {saved:.1f} % [" in basis


def test_many_comparisons_are_counted_and_those_that_ours_loses_named(tmp_path: Path) -> None:
    for number, gain in enumerate((0.1, 0.2, -0.1, 0.0)):
        gains = (gain - 0.004, gain, gain + 0.004)
        write_pairs(tmp_path, gains, (0.2, 0.21, 0.22), dataset=f"data{number}")
    assert answer_of(tmp_path).sentence == (
        "In 4 comparisons with full fine-tuning at its best TBFT is more accurate in 2, not clearly different in 1 and "
        "less accurate in 1 (10.0 points [9.0, 11.0] less at input level (data2)); it takes less energy in 4 of 4, by "
        "79.02 %."
    )


def test_the_largest_training_size_is_told(tmp_path: Path) -> None:
    write_pairs(tmp_path, (0.1, 0.12), (0.2, 0.22), train_size=100)
    write_pairs(tmp_path, (0.2, 0.22), (0.2, 0.22), train_size=1000)
    found = answer_of(tmp_path)
    assert len(found.clauses) == 1 and "to 81.0 %" in found.sentence
    assert any("the largest training size" in note for note in found.notes)


def test_drifts_on_which_recipes_were_found_are_left_out_beside_held_out_ones(tmp_path: Path) -> None:
    for drifts, gains in {"development": (0.3, 0.32), "held out": (0.1, 0.12)}.items():
        root = tmp_path / drifts
        write_pairs(root, gains, (0.2, 0.22))
        cells = {path.name: {"labels": {}, "drifts": drifts} for path in root.iterdir()}
        (root / "study.json").write_text(json.dumps({"schema": 1, "cells": cells}))
    found = answer_of(tmp_path)
    assert len(found.clauses) == 1 and "to 71.0 %" in found.sentence
    assert "The answer is of the held-out drifts, on which nothing was tuned." in found.notes


def test_without_an_opponent_it_says_so(tmp_path: Path) -> None:
    write_run(tmp_path, "block", 0.7, 5.0)
    found = answer_of(tmp_path)
    expected = "from 40.0 to 70.0 %, with no full fine-tuning beside it to compare with."
    assert found.sentence == f"At input level TBFT brings the accuracy {expected}"


def test_where_nobody_names_the_drift_the_sample_decides_and_the_sentence_says_so(tmp_path: Path) -> None:
    for strategy in ("auto", "block"):
        write_run(tmp_path, strategy, 0.8 if strategy == "auto" else 0.7, 5.0)
    assert answer_of(tmp_path).sentence.startswith("At input level auto, to which nobody names the drift, brings the")
    assert "to 80.0 %" in answer_of(tmp_path).sentence


def test_with_nothing_of_ours_there_is_nothing_to_compare(tmp_path: Path) -> None:
    write_run(tmp_path, "tuned-full", 0.7, 5.0)
    assert "nothing to compare" in answer_of(tmp_path).sentence
    assert "nothing to tell" in answer(Results([])).sentence


@pytest.mark.parametrize("missing", ["joules", "cpu_seconds"])
def test_a_cost_that_is_not_known_is_not_made_up(tmp_path: Path, missing: str) -> None:
    write_pairs(tmp_path, (0.1, 0.12), (0.2, 0.22), **{missing: {}})
    told = answer_of(tmp_path).sentence
    assert ("processor time" if missing == "joules" else "energy") in told
    write_pairs(tmp_path, (0.1, 0.12), (0.2, 0.22), joules={}, cpu_seconds={})
    assert "at a cost that is not known" in answer_of(tmp_path).sentence
