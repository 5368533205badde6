"""Conversations that others have written down, as token shards: one reader a kind of file."""
