import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import LABELS, samples

from lrsl import Reranker, core
from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.errors import InputError
from lrsl.reranking.fusion.paper import Paper
from lrsl.reranking.rule import Rule, scores_of_texts
from lrsl.reranking.view import Given
from lrsl.reranking.view.label_similarity import LabelSimilarity
from lrsl.reranking.view.lexical import Lexical
from lrsl.training.callback import RerankingCallback

RECIPE = {"epochs": 2, "lr": 2e-3, "batch_size": 32, "warmup": 0.0}


def logits_for(labels, seed):
    """Return what a mediocre classifier would say."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(labels), 4, generator=generator) + 1.5 * torch.eye(4)[labels]


def rows(n, seed):
    texts, labels = samples(n, seed)
    return SimpleNamespace(texts=texts, labels=torch.tensor(labels), logits=logits_for(labels, seed))


VAL, TEST, TRAIN = rows(60, 1), rows(50, 2), rows(160, 3)


@pytest.fixture(scope="module")
def embedding(tiny_bert):
    return load_embedding(str(tiny_bert))


@pytest.fixture(scope="module")
def fitted(embedding):
    """A reranker with the embedding off the shelf."""
    return Reranker(embedding, LABELS, k=3, power=2.0).fit(VAL.logits, VAL.labels, VAL.texts)


@pytest.fixture(scope="module", params=["all", "confused"])
def finetuned(request, embedding):
    """A reranker with a fine-tuned embedding."""
    train = (TRAIN.texts, TRAIN.labels.tolist(), TRAIN.logits.numpy() if request.param == "confused" else None)
    reranker = Reranker(embedding, LABELS)
    return reranker.fit(VAL.logits, VAL.labels, VAL.texts, train=train, negatives=request.param, **RECIPE)


def test_hard_rows_are_reranked_by_eq_10_and_easy_ones_keep_the_classifiers_answer(fitted, embedding):
    hard = core.is_hard(TEST.logits, core.sigma2_mis(VAL.logits, VAL.labels, 3), 3)
    assert 0 < hard.sum() < len(hard)
    similarity = core.label_similarity(encode(embedding, TEST.texts), encode(embedding, LABELS))
    expected = core.rerank(TEST.logits, similarity, 2.0)

    assert torch.equal(fitted.is_hard(TEST.logits), hard)
    scores = fitted.rerank(TEST.logits, TEST.texts)
    torch.testing.assert_close(scores[hard], expected[hard], rtol=0, atol=1e-5)
    torch.testing.assert_close(scores[~hard], TEST.logits[~hard].softmax(-1))
    predicted = fitted.predict(TEST.logits, TEST.texts)
    assert torch.equal(predicted, torch.where(hard, expected.argmax(-1), TEST.logits.argmax(-1)))


def test_numpy_in_numpy_out_and_torch_in_torch_out(fitted):
    for name, given in (("is_hard", ()), ("rerank", (TEST.texts,)), ("predict", (TEST.texts,))):
        method = getattr(fitted, name)
        of_torch, of_numpy = method(TEST.logits, *given), method(TEST.logits.numpy(), *given)
        assert isinstance(of_torch, torch.Tensor)
        assert isinstance(of_numpy, np.ndarray)
        np.testing.assert_allclose(of_torch.numpy(), of_numpy, atol=1e-6)
    assert fitted.predict(TEST.logits.numpy().astype(np.float16), TEST.texts).dtype == np.int64


def test_numpy_and_lists_fit_like_tensors(fitted, embedding):
    again = Reranker(embedding, LABELS, k=3, power=2.0)
    again.fit(VAL.logits.numpy(), VAL.labels.tolist(), VAL.texts)
    assert again.report_ == fitted.report_


def test_it_agrees_with_the_callback(fitted, embedding):
    view = LabelSimilarity()
    seen = view.fit(Given(LABELS, load_embedding=lambda: embedding))
    callback = RerankingCallback(Rule(fusion=Paper(2.0)), [scores_of_texts(view, seen, TEST.texts, 3)])
    trainer = SimpleNamespace(sanity_checking=False, world_size=1)
    module = SimpleNamespace(log=lambda *_, **__: None)

    def outputs(part):
        order = torch.arange(len(part.labels)).flip(0)
        return {"logits": part.logits[order], "label": part.labels[order], "index": order}

    callback.on_validation_batch_end(trainer, module, outputs(VAL), None, 0)
    callback.on_validation_epoch_end(trainer, module)
    callback.on_test_batch_end(trainer, module, outputs(TEST), None, 0)
    callback.on_test_epoch_end(trainer, module)
    assert fitted.report_["sigma2_mis"] == callback.detection.threshold
    assert torch.equal(fitted.is_hard(TEST.logits), callback.reranked.hard)
    torch.testing.assert_close(fitted.rerank(TEST.logits, TEST.texts), callback.reranked.scores, rtol=0, atol=1e-6)


def test_the_report_says_what_fit_found(fitted):
    report = fitted.report_
    assert report["n"] == 60
    assert report["sigma2_mis"] == core.sigma2_mis(VAL.logits, VAL.labels, 3)
    hard = fitted.is_hard(VAL.logits)
    assert report["hard_fraction"] == pytest.approx(hard.double().mean().item())
    correct = fitted.predict(VAL.logits, VAL.texts) == VAL.labels
    for part, chosen in (("accuracy", slice(None)), ("accuracy_hard", hard), ("accuracy_easy", ~hard)):
        assert report["rerank"][part] == pytest.approx(correct[chosen].double().mean().item())
    assert report["origin"]["accuracy"] == pytest.approx((VAL.logits.argmax(-1) == VAL.labels).double().mean().item())
    assert report["origin"]["accuracy_easy"] == report["rerank"]["accuracy_easy"]
    assert set(report["similarity"]) == {"accuracy", "accuracy_hard", "accuracy_easy"}
    assert "embedding_accuracy" not in report
    json.dumps(report, allow_nan=False)


def test_a_perfect_classifier_leaves_nothing_to_rerank(embedding):
    perfect = 5 * torch.eye(4)[VAL.labels]
    reranker = Reranker(embedding, LABELS).fit(perfect, VAL.labels, VAL.texts)
    assert reranker.report_["sigma2_mis"] == reranker.report_["hard_fraction"] == 0.0
    assert reranker.report_["rerank"]["accuracy_hard"] is None
    assert torch.equal(reranker.predict(TEST.logits, TEST.texts), TEST.logits.argmax(-1))


def test_finetuning_learns_and_leaves_the_given_embedding_alone(finetuned, embedding, tiny_bert):
    accuracies = finetuned.report_["embedding_accuracy"]
    assert len(accuracies) == 2
    assert finetuned.report_["similarity"]["accuracy"] == pytest.approx(max(accuracies))
    assert finetuned.embedding is not embedding
    pristine = load_embedding(str(tiny_bert)).state_dict()
    for name, value in embedding.state_dict().items():
        assert torch.equal(value, pristine[name])
    assert not torch.allclose(encode(finetuned.embedding, VAL.texts), encode(embedding, VAL.texts), atol=1e-3)


def test_each_fit_begins_with_the_embedder_that_was_handed_in(embedding, tiny_bert):
    train = (TRAIN.texts, TRAIN.labels, None)
    for embedder in (embedding, tiny_bert):
        reranker = Reranker(embedder, LABELS, rule="fitted", deploy="always")
        fresh = [reranker.fit(VAL.logits, VAL.labels, VAL.texts, train=train, **RECIPE).report_["embedding_accuracy"]]
        fresh.append(reranker.fit(VAL.logits, VAL.labels, VAL.texts, train, **RECIPE).report_["embedding_accuracy"])
        assert fresh[0] == fresh[1]
        assert len(reranker.views) == 4
        reranker.fit(VAL.logits, VAL.labels, VAL.texts)
        assert len(reranker.views) == 1
        assert torch.equal(encode(reranker.embedding, LABELS), encode(embedding, LABELS))
        reranker.fit(VAL.logits, VAL.labels, VAL.texts, train, **RECIPE)
        reranker.fit_out_of_fold(VAL.logits, VAL.labels, VAL.texts)
        assert torch.equal(encode(reranker.embedding, LABELS), encode(embedding, LABELS))


@pytest.mark.parametrize("finetuned", ["all"], indirect=True)
def test_finetuning_is_repeatable_whatever_the_random_state(finetuned, embedding):
    torch.manual_seed(7)
    train = (TRAIN.texts, TRAIN.labels, None)
    again = Reranker(embedding, LABELS).fit(VAL.logits, VAL.labels, VAL.texts, train=train, negatives="all", **RECIPE)
    assert again.report_ == finetuned.report_


def test_what_is_saved_comes_back(finetuned, tmp_path):
    folder = tmp_path / "new" / "reranker"
    finetuned.save_pretrained(folder)
    again = Reranker.from_pretrained(str(folder))
    assert again.report_ == finetuned.report_
    assert (again.k, again.power, again.label_texts) == (3, 1.0, LABELS)
    assert torch.equal(again.is_hard(TEST.logits), finetuned.is_hard(TEST.logits))
    expected = finetuned.rerank(TEST.logits, TEST.texts)
    torch.testing.assert_close(again.rerank(TEST.logits, TEST.texts), expected, rtol=0, atol=1e-6)
    assert torch.equal(again.predict(TEST.logits, TEST.texts), finetuned.predict(TEST.logits, TEST.texts))


def test_a_folder_without_a_reranker_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"holds no reranker: reranker\.json is missing"):
        Reranker.from_pretrained(tmp_path)


def test_a_path_will_do_for_the_embedder(fitted, tiny_bert):
    of_path = Reranker(tiny_bert, LABELS, power=2.0).fit(VAL.logits, VAL.labels, VAL.texts)
    assert of_path.report_ == fitted.report_


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_texts": ["a", "b", "a"]}, "label text 'a' stands for two classes"),
        ({"k": 5}, "k is 5; with 4 classes it must be 2 to 4"),
        ({"k": 1}, "k is 1"),
        ({"label_texts": ["a"], "k": 2}, "there is 1 label text; with fewer than 2 nothing can be reranked"),
        ({"label_texts": ["a", " ", "b"]}, r"label_texts\[1\] is ' '; every class needs a text"),
        ({"embedder": 3}, "the embedder is of type int; give a SentenceTransformer, or the folder"),
        ({"power": 0}, "power is 0; it must be above 0"),
        ({"power": 2, "rule": "fitted"}, "power is 2, the exponent of the paper's rule, and has no effect here"),
        ({"detector": "entropy"}, r"detector is 'entropy'; give an object such as lrsl\.Margin\(\)"),
        ({"views": [Lexical]}, r"views\[0\] is <class .*; give an object such as lrsl\.LabelSimilarity\(\)"),
        ({"views": Lexical()}, r"views are Lexical\(.*; give a list of them"),
        ({"power": float("nan")}, "power is nan"),
    ],
)
def test_a_reranker_that_makes_no_sense_is_refused(embedding, options, message):
    with pytest.raises(ValueError, match=message):
        Reranker(**{"embedder": embedding, "label_texts": LABELS, **options})


def test_held_out_texts_that_are_trained_on_are_told_of():
    reranker = Reranker(None, LABELS, views=[Lexical()])
    train = (VAL.texts[:7] + TRAIN.texts, torch.cat([VAL.labels[:7], TRAIN.labels]), None)
    with pytest.warns(UserWarning, match=r"^7 of 60 held-out texts also stand in train, so that what is found on them"):
        reranker.fit(VAL.logits, VAL.labels, VAL.texts, train=train)


def test_views_may_come_one_after_the_other():
    assert Reranker(None, LABELS, views=(view for view in [Lexical()])).views == [Lexical()]


def test_with_two_classes_the_usual_k_is_two(embedding):
    assert Reranker(embedding, LABELS).k == 3
    assert Reranker(embedding, LABELS[:2], rule="fitted").k == 2
    with pytest.raises(ValueError, match="k is 3; with 2 classes it must be 2 to 2"):
        Reranker(embedding, LABELS[:2], k=3)


def test_an_unknown_embedder_is_one_sentence():
    with pytest.raises(InputError, match="pretrained=nobody/nothing-of-the-kind is neither"):
        Reranker("nobody/nothing-of-the-kind", LABELS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": VAL.logits[:, :3]}, r"logits have shape \(60, 3\); with 4 label texts it is \(n, 4\)"),
        ({"logits": VAL.logits[0]}, r"logits have shape \(4,\)"),
        ({"texts": VAL.texts[1:]}, "there are 59 texts for 60 rows of logits"),
        ({"labels": VAL.labels[1:]}, "there are 59 labels for 60 rows of logits"),
        ({"logits": VAL.logits[:0], "labels": VAL.labels[:0], "texts": []}, "there are no held-out rows"),
        ({"labels": VAL.labels + 1}, r"labels\[\d+\] is 4; with 4 classes"),
        ({"logits": VAL.logits / 0}, r"logits\[0, 0\] is -?inf"),
        ({"epochs": 2}, "epochs has no effect without train"),
        (
            {"train": (TRAIN.texts, TRAIN.labels, None), "finetune": False, "lr": 1.0},
            "lr has no effect with finetune=F",
        ),
        ({"train": ([], [], None)}, "train has no rows; leave it out to take the embedder as it is"),
        ({"train": (TRAIN.texts, TRAIN.labels)}, r"train is of length 2; give \(texts, labels, logits\), of which"),
        ({"train": {"texts": TRAIN.texts}}, r"train is of type dict; give \(texts, labels, logits\)"),
        ({"train": (TRAIN.texts, TRAIN.labels - 1, None)}, r"train labels\[\d+\] is -1; with 4 classes"),
        ({"train": (TRAIN.texts, TRAIN.labels, TRAIN.logits[1:])}, "160 train texts for 159 rows of train logits"),
        ({"train": (TRAIN.texts, TRAIN.labels, TRAIN.logits.softmax(-1))}, "train logits are probabilities"),
        ({"train": (TRAIN.texts, TRAIN.labels[1:], None)}, "train has 160 texts and 159 labels"),
        (
            {"train": (TRAIN.texts, TRAIN.labels, None), "negatives": "confused"},
            "negatives=confused needs the confused labels",
        ),
        ({"train": (TRAIN.texts, TRAIN.labels, None), "epoch": 2}, "epoch is no key of the embedding's recipe"),
    ],
)
def test_parts_that_do_not_fit_are_refused(embedding, change, message):
    given = {"logits": VAL.logits, "labels": VAL.labels, "texts": VAL.texts, **change}
    with pytest.raises(ValueError, match=message):
        Reranker(embedding, LABELS).fit(**given)


def test_parts_that_do_not_fit_are_refused_when_reranking(fitted):
    for method in (fitted.rerank, fitted.predict):
        with pytest.raises(ValueError, match="there are 1 texts for 50 rows"):
            method(TEST.logits, TEST.texts[:1])
        with pytest.raises(ValueError, match=r"logits\[0, 0\] is nan"):
            method(TEST.logits * float("nan"), TEST.texts)


def test_a_reranker_that_was_not_fitted_says_so(embedding, tmp_path):
    reranker = Reranker(embedding, LABELS)
    for call in (
        lambda: reranker.rerank(TEST.logits, TEST.texts),
        lambda: reranker.predict(TEST.logits, TEST.texts),
        lambda: reranker.save_pretrained(tmp_path / "unfitted"),
    ):
        with pytest.raises(RuntimeError, match="not fitted; call fit"):
            call()
    with pytest.raises(RuntimeError, match="call fit"):
        reranker.is_hard(TEST.logits)
    assert not (tmp_path / "unfitted").exists()


def test_a_file_in_the_way_of_what_is_saved_is_one_sentence(fitted, tmp_path):
    (tmp_path / "val.csv").write_text("text\n")
    for folder in (tmp_path / "val.csv", tmp_path / "val.csv" / "mine"):
        with pytest.raises(InputError) as refused:
            fitted.save_pretrained(folder)
        assert str(refused.value) == f"{folder} is no folder, or lies in none; name another to save the reranker in"
    with pytest.raises(InputError, match=r"nowhere cannot be made \(.*\); name another folder to save the reranker in"):
        fitted.save_pretrained("/proc/nowhere")


def test_no_row_gives_no_row(fitted):
    assert fitted.rerank(TEST.logits[:0], []).shape == (0, 4)
    assert fitted.predict(TEST.logits[:0].numpy(), []).shape == (0,)
