"""Recipes as YAML: models/<name>.yaml and datasets/<name>.yaml; no code."""
