"""A model that exists, trained on: where it starts, which parts learn, and what it is to prefer."""
