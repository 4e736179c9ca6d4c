"""Fill the read models that a migration needs, in the migration itself."""

from confiture_backfill.hook import BackfillReadModel

plugin = BackfillReadModel()

__all__ = ["BackfillReadModel", "plugin"]
