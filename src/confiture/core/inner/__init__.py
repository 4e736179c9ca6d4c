"""What a statement runs from inside: DO blocks, functions, and the locks that come and go there."""
