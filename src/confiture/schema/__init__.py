"""The schema of a database as a frozen value: tables, views, functions, and what they depend on."""
