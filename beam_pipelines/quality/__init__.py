"""The quality service: rules over a whole data set."""
