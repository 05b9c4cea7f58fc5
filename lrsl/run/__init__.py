"""One run, from the data to its results."""
