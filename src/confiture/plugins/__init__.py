"""Plugins: how to write one, and how they are found, checked, chosen and guarded.

A plugin is a module, or an object, with functions named after the phases of a migration::

    from confiture import hookimpl


    @hookimpl
    def before_ddl(conn, context):
        context.set_local("lock_timeout", "3s")

and an entry point in the group ``confiture`` that names it. Each function runs in a savepoint of its own
and takes only the arguments it needs; ``spec`` says when each is called. ``finding`` reads what is
installed and imports nothing, ``loading`` imports and checks, ``choosing`` decides which take part,
``guarding`` puts each call in its savepoint.
"""
