"""What the batch example runs: the functions of its steps, and the connections of its buckets."""
