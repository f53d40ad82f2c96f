"""Measurements against the budgets of the house. `python -m tests.bench --help`."""
