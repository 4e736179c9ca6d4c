"""The schema as canonical DDL: its objects, its fingerprint and its differences."""
