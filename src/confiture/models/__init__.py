"""Frozen values for migrations, plans, reports and the ledger; nothing here has side effects."""
