"""Rules over the data set as a whole, and the order of its rows: from states that add up, batch by batch."""
