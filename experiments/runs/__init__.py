"""Reading what runs have left: their results, predictions and labels, and what may be said of them."""
