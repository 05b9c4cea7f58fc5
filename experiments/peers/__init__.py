"""Other people's tools on the same rows, with the same encoder, on the same machine as a run."""

PEERS = (
    *("linear_svm", "sentence_transformers_lr", "transformers_trainer", "setfit", "autointent"),
    *("reranked_lr", "lrsl"),
)
"""Modules of this package, each with a function `measure` that takes a `Task` and returns `Answers` by system."""
