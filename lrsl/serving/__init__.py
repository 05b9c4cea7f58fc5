"""A reranker, or a whole classifier with one, over HTTP; with what the extra `serve` installs, and nowhere else."""
