"""Estimates how long a rehearsed migration takes in production, with an interval, or says why it cannot.

The way of one estimate: ``work_classes`` finds the class of a statement, ``comparability`` refuses tables
that cannot be compared, ``curve`` extrapolates the rehearsed times, ``error_law`` puts an interval round
the result with what ``prior`` knows about earlier errors. ``statement_estimate`` does this for one
statement, ``plan_estimate`` for a plan, ``unavailability`` for the tables that are blocked.

``fit`` learns the prior from timings, ``own_history`` from the user's real runs. Only ``export`` and
``prediction_store`` open connections; the rest is arithmetic on values.
"""
