"""The shipped recipes, installed as `ms_plm_recipes`. Nothing but YAML beside this file."""
