"""Rules over the batches of a user's own pipeline, bounded or not: rows wait under the name of their batch, and digests of keys travel."""
