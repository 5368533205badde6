"""Studies of training dynamics: the edge of stability, instability and its remedies, many tasks at once."""
