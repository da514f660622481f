"""Configs: reading them, finding things in them, building what they describe."""
