"""OpenAI's Realtime protocol (GA shape): events in, events out, and the session between them."""
