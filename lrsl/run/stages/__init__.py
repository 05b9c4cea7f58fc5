"""The stages of a run, each made once: classifier, its logits, confused labels, embedding, its similarities.

What a stage makes is kept in the store under all that could change it: the data it sees, its part of the configuration,
the pretrained weights, the seed, precision and device, this package's code and the libraries it is computed with. What
comes later works with what the store gives out, whether it was made just now or by another run.
"""
