"""Find what is dangerous about a migration before it reaches production, and show the SQL to use instead.

``rule`` defines a rule, ``parsed_migration`` what a rule gets, and ``parse_files`` makes it. ``registry``
collects the built-in rules and those of plugins, ``evaluate`` applies them, ``lint`` judges files without a
server and ``judge_rehearsal`` judges a rehearsal. The rules are in ``columns``, ``constraints``, ``types``,
``indexes``, ``partitions``, ``compatibility``, ``lock_duration``, ``objects`` and ``style``;
``suppressions`` has the two rules about ignore comments. ``docs/writing-rules.md`` shows how to add a rule.
"""
