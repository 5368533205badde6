"""Grading answers offline: whether they are answers at all, what they do, and labelled ones that measure the error."""
