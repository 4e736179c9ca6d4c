"""Fill a read model from its write tables, in the migration that needs it: all of it, or none."""

from confiture_backfill.hook import BackfillReadModel

plugin = BackfillReadModel()

__all__ = ["BackfillReadModel", "plugin"]
