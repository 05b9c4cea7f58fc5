"""Readers of data sets, each of which returns one `Corpus`."""

from lrsl.data.corpus import Corpus, Split, Turn
from lrsl.data.load import load_corpus

__all__ = ["Corpus", "Split", "Turn", "load_corpus"]
