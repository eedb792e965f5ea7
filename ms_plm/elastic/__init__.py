"""DynaBERT (Hou et al., arXiv 2004.04037): one model whose first heads, neurons and layers are models by themselves."""
