"""TinyBERT: distillation, data augmentation, the search for layer maps."""
