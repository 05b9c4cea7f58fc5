"""Whether the labels of a run can be told apart, which is asked before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

from lrsl.data.corpus import Corpus
from lrsl.embedding.apart import check_distinct, listed, look_alike
from lrsl.nn.memory import release
from lrsl.run.rules import NamedRule
from lrsl.run.stages.context import RunContext
from lrsl.run.stages.embedding import embedding_off_the_shelf


def warn_of_look_alikes(corpus: Corpus) -> None:
    """Print which labels, or texts of labels, differ only in case, width or characters that are not seen."""
    for what, texts in (("labels", corpus.labels), ("label texts", corpus.label_texts)):
        if alike := look_alike(texts):
            print(f"{corpus.name} has {what} that look alike: {listed(alike)}.", flush=True)
            return


def check_embedding(context: RunContext, rules: Sequence[NamedRule]) -> None:
    """Check that the embedding gives each label text a vector of its own, where fine-tuning or a view needs that.

    Args:
        context: the run.
        rules: the rules.

    Raises:
        InputError: it does not.
    """
    settings = context.config.embedding
    if settings.finetune or any(view.view.embeds_label_texts for rule in rules for view in rule.views):
        similarity = embedding_off_the_shelf(context).label_similarity()
        release()
        check_distinct(similarity, context.corpus.label_texts, f"embedding.pretrained={settings.pretrained}")
