"""Read the migrations of other tools in place, and what their ledgers say: one module per convention."""
