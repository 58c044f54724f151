"""Files of this machine: source and target."""
