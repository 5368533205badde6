"""What a run notices of trouble, and does about it."""
