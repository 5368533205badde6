"""Speaking with a model while it listens: turn detection, the Realtime protocol, the server and its page."""
