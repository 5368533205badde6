"""What the text guard has learned from requests: asked/ to learn from, words/ to read five languages as English."""
