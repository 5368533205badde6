"""Studies: results of papers, measured again at the size of this machine, with a verdict for every claim."""
