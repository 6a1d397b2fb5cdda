"""The front door: command line, config file, one-machine mode; wires everything."""
