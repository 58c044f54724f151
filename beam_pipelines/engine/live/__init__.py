"""Streams, whatever runs them: drain after drain, what waits from one to the next, and how far the topics are read."""
