"""SQL as text, without a server: lexer, parser, scripts, directives and the locks a statement takes."""
