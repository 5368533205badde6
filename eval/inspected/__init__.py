"""Our models behind Inspect AI's face: providers, messages with sound and pictures, and what an answer is to be."""
