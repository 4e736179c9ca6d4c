"""Hooks: their specification, their public API, and the guard around each call."""
