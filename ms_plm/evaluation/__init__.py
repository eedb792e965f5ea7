"""Arithmetic on arrays and scores: metrics, and baselines that need no network."""
