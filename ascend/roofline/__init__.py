"""How long a training step must take at least: operations and bytes, counted, against what a chip can do."""
