"""The schema as canonical DDL: what there is in the catalog, its fingerprint and its differences."""
