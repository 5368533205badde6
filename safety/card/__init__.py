"""The System Card: collected from logs, rendered as HTML, Markdown and JSON, compared; and signed provenance."""
