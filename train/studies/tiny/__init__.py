"""Ablations of omni-tiny's recipe: what each of its choices is worth at equal compute."""
