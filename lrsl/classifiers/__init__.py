"""Text to logits: the networks of the paper's seven classifiers, and how one is built from a configuration."""
