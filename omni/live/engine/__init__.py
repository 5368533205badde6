"""Between the door and the models: their processes, here and on a cluster, and what is said to them."""
