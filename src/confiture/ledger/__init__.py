"""Read, write, lock, verify and repair the ledger of applied migrations in the target database."""
