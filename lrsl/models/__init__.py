"""The networks, and the two seams of reranking: what tells hard samples, and what gives a second view on them."""
