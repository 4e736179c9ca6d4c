"""Plugins: how to write one, and how they are found, selected, loaded and checked.

A plugin is a module, or an object, with functions named after the phases of a migration::

    from confiture import hookimpl


    @hookimpl
    def before_ddl(conn, context):
        context.set_local("lock_timeout", "3s")

and an entry point in the group ``confiture`` that names it. Each function runs in its own savepoint and takes
only the arguments it needs; ``confiture.hooks.spec`` says when each is called. ``find`` reads the metadata of
installed packages and imports no plugin, ``select`` decides which plugins take part, ``load`` imports them,
``check`` reports their faults, and ``order`` asks pluggy for the call order. ``confiture.hooks.guard`` puts
each call in its savepoint.
"""
