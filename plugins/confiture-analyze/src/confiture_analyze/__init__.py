"""Run ANALYZE on what a migration has changed, and report how it grew."""

from confiture_analyze.hook import AnalyzeChanged

plugin = AnalyzeChanged()

__all__ = ["AnalyzeChanged", "plugin"]
