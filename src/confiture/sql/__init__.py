"""Read SQL text without a server: lexer, parser, scripts, directives and expected locks."""
