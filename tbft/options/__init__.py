"""The options of the command line and of ``personalize``: what there is, what presets say, and what has no effect."""
