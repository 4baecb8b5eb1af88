"""Running a study: a grid becomes cells, executors run them, and the ledger keeps their records."""
