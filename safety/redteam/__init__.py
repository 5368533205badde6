"""Red-team sessions: transcripts that are replayed turn by turn, and what garak finds at a served endpoint."""
