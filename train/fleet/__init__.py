"""Fleets: many tiny translation models, each with its own seed, mixture and learning rate, trained as one."""
