"""Text to vector: the text embedding and its training."""
