"""What becomes of hard rows besides reranking: no answer, a set of labels, or an answer from elsewhere.

Which rows are hard, and how their labels are ranked, is the rule's. Easy rows keep the classifier's one label.
"""

ACTIONS = ("rerank", "abstain", "set", "defer")

NO_LABEL = -1
"""Stands for no answer where labels are numbers."""
