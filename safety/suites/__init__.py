"""Requests to refuse beside requests to comply with: written, spoken, and disguised."""
