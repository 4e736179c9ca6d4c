"""The ledger in the target database: its table, its lock, and everything that compares files with it."""
