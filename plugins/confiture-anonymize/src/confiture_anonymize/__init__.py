"""Make copies of production without personal data, and refuse new personal columns without a rule."""

from confiture_anonymize.hook import PersonalDataGate

plugin = PersonalDataGate()

__all__ = ["PersonalDataGate", "plugin"]
