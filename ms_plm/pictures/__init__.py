"""Pictures from arrays and records; matplotlib, of the extra `viz`, is imported when one is drawn."""
