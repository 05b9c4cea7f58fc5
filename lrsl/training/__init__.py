"""The two LightningModules and the reranking callback."""
