"""What all SQL sources and targets share: names, literals, and what a `database` source reads."""
