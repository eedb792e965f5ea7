"""Text to prepared corpora, and prepared corpora to training batches."""
