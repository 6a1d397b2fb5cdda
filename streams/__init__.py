"""The pure core and the Faust agents around it."""
