"""A run on disk: its name, its folder, what binds its checkpoints to it, and where it logs."""
