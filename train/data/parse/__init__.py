"""One module a source: what its packages hold, turned into items with pictures and waveforms."""
