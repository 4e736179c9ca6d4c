"""Measure what a rehearsed migration does: its locks, rewrites, index builds and scans."""
