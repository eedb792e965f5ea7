"""Data augmentation of TinyBERT: words of a task's texts give way to others that a model or word vectors propose."""
