"""Say how long production would take, and how sure that is: curves, laws of error, and what is unknown.

``curve`` extrapolates, ``fitting`` learns from residuals how far off that is, ``prior`` keeps it,
``law`` turns it into intervals; ``statistics`` is production as it was exported, ``predicting``
puts them together. Nothing here reaches a database.
"""
