"""Training that diverges ends with a sentence that says what to lower."""

from dataclasses import replace

import pytest
import tiny
import torch

import lrsl
from lrsl.config.schema import EmbeddingConfig, ModelConfig
from lrsl.errors import InputError
from lrsl.run import pipeline


@pytest.mark.parametrize(
    ("part", "keys", "sentence"),
    [
        ("model", {"lr": 1e30}, r"model: training diverged in epoch 1.* lower model\.lr=1e\+30, model\.head_lr"),
        ("model", {"head_lr": 1e38}, r"model: training diverged in epoch \d.* lower model\.lr"),
        ("embedding", {"lr": 1e30}, r"embedding: training diverged in epoch 1.* lower embedding\.lr=1e\+30"),
    ],
)
def test_a_run_that_diverges_says_what_to_lower(tiny_corpus, tiny_bert, tmp_path, part, keys, sentence):
    config = tiny.config(tiny_corpus, tiny_bert)
    with pytest.raises(InputError, match=sentence) as caught:
        pipeline.run(replace(config, **{part: replace(getattr(config, part), **keys)}), tmp_path)
    assert len(str(caught.value)) < 300
    assert not (tmp_path / "results.json").exists()


def test_a_reranker_that_diverges_says_what_to_lower(tiny_bert):
    texts, labels = tiny.samples(60)
    logits = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(60), torch.tensor(labels)] += 1.0
    train = ([f"{text} again" for text in texts], labels, None)
    reranker = lrsl.Reranker(str(tiny_bert), tiny.LABELS)
    with pytest.raises(InputError, match=r"fine-tuning the embedding diverged.* lower lr=1e\+30"):
        reranker.fit(logits, labels, texts, train=train, lr=1e30)
    view = lrsl.CrossEncoder(str(tiny_bert), lr=1e30, epochs=2)
    with pytest.raises(ValueError, match=r"training the cross-encoder diverged.* lower lr=1e\+30"):
        lrsl.Reranker(str(tiny_bert), tiny.LABELS, views=[view]).fit(logits, labels, texts, train=train, finetune=False)


@pytest.mark.parametrize("make", [ModelConfig, EmbeddingConfig])
@pytest.mark.parametrize("key", ["lr", "gradient_clip"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_what_is_no_rate_is_refused_before_anything_is_trained(make, key, value):
    with pytest.raises(InputError, match=rf"{key}=\S+ is too (large|small)"):
        make(**{key: value})
