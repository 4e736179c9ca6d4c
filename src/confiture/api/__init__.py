"""What the commands and the Python API call: run, rehearse, undo, and the migrator."""
