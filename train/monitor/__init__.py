"""What a run shows of itself, while it goes and afterwards."""
