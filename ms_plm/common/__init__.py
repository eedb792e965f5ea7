"""What every room needs and none owns: user errors, safe file writing, the random number generator."""
