"""The Preparedness part of a System Card: its protocols, levels by written thresholds, and the figures published."""
