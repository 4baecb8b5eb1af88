"""A personalizable classifier as one file for a device without torch: graphs, weights and code in a bundle."""
