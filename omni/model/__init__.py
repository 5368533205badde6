"""The Transformer over the shared token space."""
