"""From the bytes that a client sends to what the model hears, and who has the turn."""
