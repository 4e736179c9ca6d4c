"""How well a rehearsal sees: tables of migrations with a known truth, and what a rehearsal reports of them.

``python -m tests.accuracy`` prints the figures and names every wrong answer. The truth is in
``tests/data/locks.tsv``; none of it was measured by confiture.
"""
