"""Connections and sessions: connect, send, read pg_locks, dump, and end on a signal."""
