"""Run one plan on many targets, in waves: databases, or schemas of one database."""
