"""Reporting: records are read, and become tables, figures and one page. It imports nothing of `running`."""
