"""What a model's process does: conversations of one model, their hearing, their answers, the steps of all together."""
