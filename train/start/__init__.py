"""What a run begins with: its rows, its shape, its weights."""
