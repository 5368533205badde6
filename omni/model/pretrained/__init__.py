"""Checkpoints of transformers in and out: folders of Llama, Qwen2, Qwen3 and Mistral models."""
