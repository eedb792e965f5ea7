"""Several runs as one: repeats with other seeds, grids of values, suites of tasks."""
