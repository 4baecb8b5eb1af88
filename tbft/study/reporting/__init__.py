"""Reporting: reads records and makes tables, figures and one page of them. It imports nothing of `running`."""
