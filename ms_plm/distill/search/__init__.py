"""ELM: the search for a layer map (Jiao et al. 2020, arXiv 2012.06153)."""
