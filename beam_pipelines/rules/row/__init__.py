"""Rules that look at one row at a time: a module for each thing that may hold of it."""
