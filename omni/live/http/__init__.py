"""The door: HTTP and WebSocket endpoints in OpenAI's shapes, and who may come in."""
