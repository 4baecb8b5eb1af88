"""Export a classifier as a bundle: one file with graphs, weights and code that adapts on a device without torch."""
