"""A run of a service as pure values and laws: window, manifest, counts, balance, guarantee. No I/O, no Beam, no database."""
