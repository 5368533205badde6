"""Reading the stream in the other direction: sampling, streaming generation, and what they cost."""
