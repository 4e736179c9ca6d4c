"""The operations behind the commands and the Python API: run, rehearse, undo, and the migrator."""
