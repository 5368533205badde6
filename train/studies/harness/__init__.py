"""What every study shares: cells that run side by side and resume, claims with a verdict, a page."""
