"""Starting a recipe on one or many machines by MindSpore's `msrun`, and again after a machine was lost."""
