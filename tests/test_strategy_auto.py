"""The strategy `auto` is `auto.yaml` whatever level's file it is laid over."""

from pathlib import Path

DRIFT = ("--data.corruption", "null", "--data.label_map", "flip", "--data.train_size", "60", "--data.test_size", "50")
DIGITS = ("--model.base", "digits", "--data.task", "digits", "--data.batch_size", "8")


def test_over_a_levels_file_it_is_the_file_that_names_no_level(run, tmp_path):
    _, own = run("fit", "--config", "auto.yaml", *DIGITS, *DRIFT, name="own")
    papers = tmp_path / "papers.yaml"
    optimizer = "{class_path: torch.optim.SGD, init_args: {lr: 1.0e-3, momentum: 0.9, weight_decay: 5.0e-4}}"
    papers.write_text(
        f"model: {{optimizer: {optimizer}, schedule: constant}}\ndata: Digits\nfreeze: {{statistics: batch}}\n"
    )
    for before in ("input.yaml", "feature.yaml", "output.yaml", str(papers)):
        over = ("--config", before, "--config", "strategy/auto.yaml")
        code, laid = run("fit", *over, *DIGITS, *DRIFT, name=Path(before).stem)
        assert code == 0 and laid["strategy"] == "auto" and laid["accuracy"] == own["accuracy"]
        assert laid["config_hash"] == own["config_hash"]  # of every option that the outcome depends on


def test_always_refreshing_and_solving_the_head_is_a_strategy(run):
    drift = ("--data.corruption", "contrast", "--data.train_size", "100")
    code, record = run("fit", "--config", "input.yaml", "--config", "strategy/refresh+head.yaml", *drift)
    assert code == 0 and (record["strategy"], record["statistics"], record["steps"]) == ("refresh+head", "refresh", 0)
    assert record["accuracy"]["test"] > record["accuracy"]["base"] + 0.3
