"""What training costs, against peers in the same run."""
