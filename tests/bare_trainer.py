"""Lightning's Trainer with nothing around the callbacks that a test is about."""

from typing import Any

from lightning.pytorch import Trainer


def bare_trainer(**options: Any) -> Trainer:
    """A trainer on the processor without logger, checkpoint, progress bar, summary or sanity check."""
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return Trainer(**{**quiet, **options})
