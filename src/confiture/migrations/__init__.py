"""A folder of files becomes prepared migrations, and those become a plan."""
