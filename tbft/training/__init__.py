"""Training by steps with Lightning's Trainer: checks before a run, the fit itself, and training within a climb."""
