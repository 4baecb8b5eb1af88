"""Studies: `running` makes a ledger of many personalizations, `reporting` makes tables and figures of a ledger."""
