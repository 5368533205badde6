"""What the model that ships can do, on held-out items and beside them on trained ones; docs/abilities.md defines it."""
