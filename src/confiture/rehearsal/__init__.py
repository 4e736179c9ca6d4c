"""Run a plan for real and leave nothing behind: in a transaction, in a clone, or on an embedded server."""
