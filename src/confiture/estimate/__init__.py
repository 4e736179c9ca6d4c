"""Estimate how long a rehearsed migration takes in production, with an interval, or say why it cannot.

The way of one estimate: ``work_classes`` finds the class of a statement, ``comparability`` refuses tables
that cannot be compared, ``curve`` extrapolates the rehearsed times, ``error_law`` puts an interval round
the result with what ``prior`` knows about earlier errors. ``statement_estimate`` does this for one
statement, ``plan_estimate`` for a plan, ``unavailability`` for the tables that are blocked.

The shipped prior was learned from timings, ``own_history`` learns from the user's real runs. ``export``,
``count_rows`` and ``prediction_store`` ask a server; the rest is arithmetic on values.
"""
