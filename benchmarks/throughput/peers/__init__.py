"""The same job by other libraries, each a program of its own that runs in an environment of its own."""
