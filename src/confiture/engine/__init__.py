"""Run one migration: in a transaction, or statement by statement without one."""
