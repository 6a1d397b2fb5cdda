"""The commands, one module each: what `forewarn <name>` does once its arguments are parsed."""
