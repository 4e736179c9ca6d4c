"""A large application's schema, written by a script: several tenants, a write side and a read side.

``python -m tests.application FOLDER`` writes about 1,250 SQL files, in the order in which they are applied.
"""
