"""Audio as integers: a causal streaming codec, its training, its measures, and pretrained codecs with the same face."""
