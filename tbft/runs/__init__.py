"""A run on disk: its name, its folder, the fingerprint in its checkpoints, and its loggers."""
