"""Running a study: the grid makes cells, executors run them, and the ledger keeps their records."""
