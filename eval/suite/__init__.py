"""Suites of tasks over one model: run, resumed, compared and shown."""
