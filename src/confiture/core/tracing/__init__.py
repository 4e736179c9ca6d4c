"""See what a rehearsed migration does: its locks, rewrites, index builds and scans.

``catalog`` is what was there before the migration, ``looking`` one look at what the session holds,
``events`` the looks that event triggers take inside procedural code, ``blocking`` what locks keep
others from, ``trace`` puts them together.
"""
