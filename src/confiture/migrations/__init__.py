"""Read migration files, prepare migrations and choose which of them to run."""
