"""The gate: the policy that turns a report's findings and measurements into an exit code. Pure.

``policy`` is what the configuration says, ``limits`` judges what was measured, ``scope`` says which
migrations are judged at all, ``accepted`` which findings were let in before, ``lint_options`` decides, and
``verdict`` words it.
"""

ACCEPTED_FILE = ".confiture-accepted.json"
"""The file of accepted findings, in the configuration's folder."""
