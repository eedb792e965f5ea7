"""Choosing a sub-network: what each one costs and is worth, and a search over widths layer by layer."""
