"""Frame rate and codebooks of the audio codec, chosen by what a model makes of the codes."""
