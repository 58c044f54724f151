"""What columns are like, and rules that hold of them."""
