"""Studies of translation: mixtures, scaling, decoding and architectures, on real parallel text at a tiny size."""
