"""What a model is, what a recipe says, what is computed in which precision. Imports no MindSpore."""
