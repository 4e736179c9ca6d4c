"""Rules: what a reader must know before a migration reaches production, and the safer way.

A rule is a frozen :class:`~confiture.rules.rule.Rule`. What it looks for it finds in a statement's parse
tree; whether that happens it is told by the rehearsal, where there was one. A plugin adds its own with the
hook ``rules``, which returns a list of them; the built-in ones come by the same hook::

    from confiture import hookimpl
    from confiture.rules.rule import Hit, Rule


    def hits(piece):
        if piece.kind == "create_extension_stmt":
            yield Hit("creates an extension, which our role may not")


    @hookimpl
    def rules():
        words = {"summary": "CREATE EXTENSION", "effect": "refuses", "risk": "the migration fails"}
        return [Rule(id="jam-extension", severity="error", basis="static", check=hits, **words)]

``rule`` and ``reading`` are the values, ``trees`` and ``recipes`` what the rules are written with,
``lint_options`` decides, ``gathering`` asks the plugins, ``linting`` is the half that needs no server.
"""
