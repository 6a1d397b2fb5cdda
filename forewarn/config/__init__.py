"""The config file: its shape, what is wrong in it, and what each part gets of it."""
