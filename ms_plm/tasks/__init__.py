"""One file per task: what it feeds to a model, its loss as named sums, its metrics; and the loop that evaluates."""
