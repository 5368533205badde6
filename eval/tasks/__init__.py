"""Inspect tasks over held-out items and local files; docs/evaluation.md shows how to write another."""
