"""Files that travel with the package: the quick-start corpus, its vocabulary and nothing else."""
