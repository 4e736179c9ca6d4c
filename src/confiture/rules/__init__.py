"""Rules: what to know before a migration reaches production, and the SQL to use instead.

``rule`` is what a rule is, ``parsed_migration`` what it gets. ``registry`` collects the built-in rules and
those of plugins, ``evaluate`` applies them, ``lint`` judges files without a server and ``judge_rehearsal``
judges what was rehearsed. The rules are in ``columns``, ``constraints``, ``types``, ``indexes``,
``partitions``, ``compatibility``, ``lock_duration``, ``objects`` and ``style``. ``docs/writing-rules.md``
shows how to add one.
"""
