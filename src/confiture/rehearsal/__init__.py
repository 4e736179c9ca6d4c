"""Rehearse a plan and leave nothing behind: in a transaction, in a clone, or on an embedded server."""
