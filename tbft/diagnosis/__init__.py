"""What drifted: evidence, intervals and advice, from the same arrays as the remedies; numpy alone."""
