"""The first look at a trained model: every task on held-out items against chance and a nearest neighbour."""
