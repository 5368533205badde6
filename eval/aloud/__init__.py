"""Text evaluations asked aloud: questions read by synthesizers, through rooms and telephones."""
