"""The gate: the policy that turns a report's findings and measurements into an exit code.

``confiture.config.gate_policy`` reads the policy. ``limits`` compares measurements with its limits, ``scope``
says which migrations are checked, ``accepted`` which findings were accepted before, and ``judge`` decides.
Nothing here uses a database.
"""

ACCEPTED_FILE = ".confiture-accepted.json"
"""The file of accepted findings, in the configuration's folder."""
