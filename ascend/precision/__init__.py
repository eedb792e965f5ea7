"""Whether a graph keeps its precision policy (`ms_plm.config.precision`): casts walked in an exported graph."""
