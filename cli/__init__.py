"""`cox`: a client of the bus like any other."""
