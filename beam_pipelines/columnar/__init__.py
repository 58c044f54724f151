"""Record batches: how they travel, where each row came from, how large they are, what their types become elsewhere."""
