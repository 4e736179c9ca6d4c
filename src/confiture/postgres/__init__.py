"""Talk to PostgreSQL: connect, send messages, read ``pg_locks``, dump the schema and handle signals."""
