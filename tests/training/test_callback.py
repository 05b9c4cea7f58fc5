from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from scripted import LABELS, ScriptedClassifier, batches, wrong

from lrsl import core
from lrsl.config.schema import TrainerConfig
from lrsl.reranking.detector.topk_variance import TopKVariance
from lrsl.reranking.rule import Detection, Rule, scores_of_texts
from lrsl.reranking.threshold.best_gain import BestGain
from lrsl.reranking.view import View
from lrsl.training.callback import RerankingCallback
from lrsl.training.trainer import build_trainer

EPOCHS = [wrong(5, -1, 5, -1), wrong(5, 5, 5, -2), wrong(5, -3, 5, -3), wrong(-4, -4, 5, -4)]  # the second is the best
TEXTS = ["first", "second", "third", "fourth"]


class SpyView:
    """Knows the right label of each text, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked.append(list(texts))
        return torch.eye(3)[[int(LABELS[TEXTS.index(text)]) for text in texts]]


def scores(view):
    """Return what a view makes of the texts, when a test begins; None for no view."""
    return view and (lambda: [scores_of_texts(View, view, TEXTS, 3)])


class ThresholdAtStart(pl.Callback):
    """Remembers the threshold with which training starts."""

    def on_train_start(self, trainer, pl_module):
        self.detection = trainer.callbacks[0].detection


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Four scripted epochs after a sanity check, then a test of the best one on rows out of order."""
    view = SpyView()
    callback = RerankingCallback(Rule(), scores(view))
    start = ThresholdAtStart()
    trainer = build_trainer(
        TrainerConfig(accelerator="cpu", precision="32-true", progress=False),
        "classifier",
        tmp_path_factory.mktemp("scripted"),
        epochs=4,
        monitor="val/acc",
        patience=9,
        callbacks=[callback, start],
    )
    trainer.num_sanity_val_steps = 2
    module = ScriptedClassifier(EPOCHS)
    trainer.fit(module, batches(), batches(shuffled=True))
    validated = dict(trainer.callback_metrics)
    last = callback.detection.threshold
    best = trainer.checkpoint_callback.best_model_path
    trainer.test(module, batches(shuffled=True), ckpt_path=best, weights_only=True, verbose=False)
    return SimpleNamespace(
        callback=callback,
        view=view,
        start=start,
        last=last,
        best=best,
        validated=validated,
        tested=dict(trainer.callback_metrics),
    )


def test_the_sanity_check_teaches_no_threshold(fitted):
    assert fitted.start.detection is None


def test_the_threshold_of_each_epoch_is_logged(fitted):
    assert fitted.validated["val/sigma2_mis"].item() == pytest.approx(core.sigma2_mis(EPOCHS[3], LABELS, 3))
    assert fitted.last == core.sigma2_mis(EPOCHS[3], LABELS, 3)


def test_the_tested_epoch_is_the_best_with_its_own_threshold_not_the_last_ones(fitted):
    thresholds = [core.sigma2_mis(logits, LABELS, 3) for logits in EPOCHS]
    assert len(set(thresholds)) == 4
    assert fitted.callback.detection.threshold == thresholds[1]
    assert torch.equal(fitted.callback.test_logits, EPOCHS[1])


def test_the_checkpoint_holds_the_threshold_and_no_optimizer_and_executes_nothing(fitted):
    saved = torch.load(fitted.best, weights_only=True)
    assert saved["callbacks"]["lrsl.RerankingCallback"] == {"sigma2_mis": core.sigma2_mis(EPOCHS[1], LABELS, 3)}
    assert saved["epoch"] == 1
    assert saved["optimizer_states"] == saved["lr_schedulers"] == []


def test_nothing_is_hard_when_the_variance_only_equals_the_threshold(fitted):
    # the one mistake of the best epoch is its own mean
    assert fitted.view.asked == []
    names = {name for name in fitted.tested if name.startswith("test/")}
    every = {"test/origin_acc", "test/rerank_acc", "test/origin_acc_easy", "test/rerank_acc_easy"}
    assert names == {"test/hard_fraction", *every}
    assert fitted.tested["test/hard_fraction"] == 0
    assert all(fitted.tested[name] == 0.75 for name in every)


class Log(dict):
    """Stands for the LightningModule: remembers what is logged."""

    def log(self, name, value, **_):
        assert name not in self
        self[name] = float(value)


ONE_PROCESS = SimpleNamespace(sanity_checking=False, world_size=1)
# rows 1 and 3 are wrong, 2 is right; all three are hard below a variance of 0.3
LOGITS = wrong(5, -1, 1, -1)


def outputs(*parts):
    """Return what the test steps of the given rows hand over."""
    return [{"logits": LOGITS[list(rows)], "label": LABELS[list(rows)], "index": torch.tensor(rows)} for rows in parts]


def run_test(parts, view):
    callback = RerankingCallback(Rule(), scores(view))
    callback.load_state_dict({"sigma2_mis": 0.3})
    log = Log()
    callback.on_test_epoch_start(ONE_PROCESS, log)
    for number, batch in enumerate(outputs(*parts)):
        callback.on_test_batch_end(ONE_PROCESS, log, batch, None, number)
    callback.on_test_epoch_end(ONE_PROCESS, log)
    return callback, log


@pytest.mark.parametrize(
    "parts",
    [
        [(0, 1, 2, 3)],
        [(3,), (1, 0), (2,)],
        [(2, 0), (3, 1), (2, 0)],  # as a distributed sampler pads: rows come twice
        [(1, 1, 3), (0, 2, 1)],
    ],
)
def test_each_sample_counts_once_in_the_order_of_the_split(parts):
    view = SpyView()
    callback, log = run_test(parts, view)
    assert torch.equal(callback.test_logits, LOGITS)
    assert callback.reranked.hard.tolist() == [False, True, True, True]
    assert view.asked == [["second", "third", "fourth"]]  # the hard samples' texts alone
    assert log == {  # by hand
        "test/hard_fraction": 0.75,
        "test/origin_acc": 0.5,
        "test/origin_acc_hard": pytest.approx(1 / 3),
        "test/origin_acc_easy": 1.0,
        "test/rerank_acc": 1.0,
        "test/rerank_acc_hard": 1.0,
        "test/rerank_acc_easy": 1.0,
    }


def run_validation(callback, *epochs):
    log = Log()
    callback.on_validation_epoch_start(ONE_PROCESS, log)
    for number, batch in enumerate(outputs(*epochs)):
        callback.on_validation_batch_end(ONE_PROCESS, log, batch, None, number)
    callback.on_validation_epoch_end(ONE_PROCESS, log)
    return log["val/sigma2_mis"]


def test_duplicates_do_not_weigh_on_the_threshold():
    logits = LOGITS.clone()
    logits[1] *= 3  # else every mistake has the same variance
    callback = RerankingCallback(Rule())
    log = Log()
    for rows in ([3, 1], [0, 2], [1, 1]):
        batch = {"logits": logits[rows], "label": LABELS[rows], "index": torch.tensor(rows)}
        callback.on_validation_batch_end(ONE_PROCESS, log, batch, None, 0)
    callback.on_validation_epoch_end(ONE_PROCESS, log)
    assert log["val/sigma2_mis"] == core.sigma2_mis(logits, LABELS, 3)


def test_an_epoch_forgets_the_one_before_even_if_that_was_cut_short():
    callback = RerankingCallback(Rule())
    callback.on_validation_batch_end(ONE_PROCESS, Log(), outputs((1,))[0], None, 0)
    assert run_validation(callback, (0, 2)) == 0.0  # both right
    assert run_validation(callback, (0, 1)) > 0


def test_nothing_misclassified_on_validation_leaves_everything_easy():
    view = SpyView()
    callback = RerankingCallback(Rule(), scores(view))
    assert run_validation(callback, (0, 2)) == 0.0
    log = Log()
    callback.on_test_epoch_start(ONE_PROCESS, log)
    callback.on_test_batch_end(ONE_PROCESS, log, outputs((0, 1, 2, 3))[0], None, 0)
    callback.on_test_epoch_end(ONE_PROCESS, log)
    assert log == {
        "test/hard_fraction": 0.0,
        "test/origin_acc": 0.5,
        "test/origin_acc_easy": 0.5,
        "test/rerank_acc": 0.5,
        "test/rerank_acc_easy": 0.5,
    }
    assert view.asked == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": LOGITS.softmax(-1)}, r"^logits are probabilities"),
        (
            {"label": torch.tensor([0, 1, -100, 0])},
            r"^labels\[2\] is -100; with 3 classes .* leave out rows without a label",
        ),
        ({"label": LABELS[:, None]}, r"^labels are of shape \(4, 1\)"),
        ({"label": torch.tensor([0, 1, 0.5, 0])}, r"^labels\[2\] is 0\.5"),
    ],
)
def test_probabilities_and_what_is_no_class_are_refused_at_the_end_of_the_epoch(change, message):
    batch = {**outputs((0, 1, 2, 3))[0], **change}
    for epoch in ("validation", "test"):
        callback = RerankingCallback(Rule(), scores(SpyView()))
        callback.load_state_dict({"sigma2_mis": 0.3})
        getattr(callback, f"on_{epoch}_batch_end")(ONE_PROCESS, Log(), batch, None, 0)
        with pytest.raises(ValueError, match=message):
            getattr(callback, f"on_{epoch}_epoch_end")(ONE_PROCESS, Log())


def test_a_test_without_threshold_or_view_is_an_error():
    with pytest.raises(RuntimeError, match="no view yet"):
        run_test([(0, 1, 2, 3)], None)
    callback = RerankingCallback(Rule(), scores(SpyView()))
    callback.on_test_batch_end(ONE_PROCESS, Log(), outputs((0, 1))[0], None, 0)
    with pytest.raises(RuntimeError, match="no threshold yet"):
        callback.on_test_epoch_end(ONE_PROCESS, Log())


def test_a_threshold_rule_that_needs_answers_learns_nothing_from_validation_and_breaks_nothing(tmp_path):
    callback = RerankingCallback(Rule(threshold=BestGain()))
    trainer = build_trainer(
        TrainerConfig(accelerator="cpu", precision="32-true", progress=False),
        "classifier",
        tmp_path,
        epochs=2,
        monitor="val/acc",
        patience=9,
        callbacks=[callback],
    )
    trainer.fit(ScriptedClassifier(EPOCHS), batches(), batches())
    assert callback.detection is None
    assert "val/acc" in trainer.callback_metrics
    assert "val/sigma2_mis" not in trainer.callback_metrics
    saved = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    assert saved["callbacks"]["lrsl.RerankingCallback"] == {"sigma2_mis": None}
    callback.load_state_dict({"sigma2_mis": None})
    callback.on_test_batch_end(ONE_PROCESS, Log(), outputs((0, 1))[0], None, 0)
    with pytest.raises(RuntimeError, match="BestGain needs to know what reranking would answer, so give the callback"):
        callback.on_test_epoch_end(ONE_PROCESS, Log())


@pytest.mark.parametrize("rule", [Rule(), Rule(threshold=BestGain())])
def test_a_detection_that_is_given_stays_whatever_validation_and_checkpoint_say(rule):
    view, given = SpyView(), Detection(TopKVariance(3), 0.3)
    callback = RerankingCallback(rule, scores(view), detection=given)
    assert run_validation(callback, (0, 1, 2, 3)) == 0.3
    callback.load_state_dict({"sigma2_mis": 9.0})
    assert callback.detection is given
    log = Log()
    callback.on_test_batch_end(ONE_PROCESS, log, outputs((0, 1, 2, 3))[0], None, 0)
    callback.on_test_epoch_end(ONE_PROCESS, log)
    assert log["test/hard_fraction"] == 0.75
    assert log["test/rerank_acc"] == 1.0
