"""The state of a run: what each process has of it, on disk, and given back to any number of processes."""
