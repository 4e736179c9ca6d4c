"""The gate: the policy that turns a report's findings and measurements into an exit code. Pure.

``policy`` is what the configuration says, ``limits`` judges what was measured, ``scope`` says which
migrations are judged at all, ``accepted`` which findings were let in before, ``lint_options`` decides, and
``verdict`` words it.
"""

ACCEPTED_FILE = ".confiture-accepted.json"
"""The findings that were let in before; lies beside the configuration."""
