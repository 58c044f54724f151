"""What is compared: each module is one group of cases."""
