"""Experiments that show what the paper promises, each a command."""
