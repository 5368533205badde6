"""What turn detection learns from people: where speech begins, how it ends, and whether all was said."""
