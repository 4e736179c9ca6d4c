"""Frozen values: what a migration is, what is planned, what happened. Nothing here has an effect."""
