"""Logits reranking via semantic labels: better answers on the samples a text classifier hesitates on."""
