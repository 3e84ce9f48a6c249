"""How an engine runs: it imports no compiler, so it deploys alone."""
