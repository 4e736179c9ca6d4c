"""Walk an operator through a plan: what each migration does, what it risks, and how to run it."""
