"""Rules of keys: which occur once, which occur elsewhere."""
