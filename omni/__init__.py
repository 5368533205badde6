"""omni: one autoregressive Transformer over one shared token space of text, audio and image tokens."""

__version__ = "0.1.0"
