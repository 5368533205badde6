"""Guards that listen to a conversation while it runs; each is a `feed(samples, transcript)` that may give a reason."""
