"""The model's side of live speech: conversations in a process of their own."""
