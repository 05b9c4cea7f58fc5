"""Logits reranking via semantic labels: better answers on the samples a text classifier hesitates on."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lrsl.reranking import PUBLIC

if TYPE_CHECKING:
    from lrsl.plugin.batches import RerankedBatches
    from lrsl.plugin.function import RerankedFunction, from_function
    from lrsl.plugin.pipeline import RerankedPipeline
    from lrsl.plugin.reranker import Reranker
    from lrsl.plugin.sklearn import RerankedClassifier
    from lrsl.reranking.detector import Detector, DetectorWithoutFit
    from lrsl.reranking.detector.entropy import Entropy
    from lrsl.reranking.detector.margin import Margin
    from lrsl.reranking.detector.max_probability import MaxProbability
    from lrsl.reranking.detector.topk_probability_gap import TopKProbabilityGap
    from lrsl.reranking.detector.topk_variance import TopKVariance
    from lrsl.reranking.fusion import Fusion
    from lrsl.reranking.fusion.authors_encoder import AuthorsEncoder
    from lrsl.reranking.fusion.authors_llm import AuthorsLLM
    from lrsl.reranking.fusion.log_linear import LogLinear
    from lrsl.reranking.fusion.paper import Paper
    from lrsl.reranking.on_hard.defer import Endpoint
    from lrsl.reranking.threshold import ThresholdRule
    from lrsl.reranking.threshold.best_gain import BestGain
    from lrsl.reranking.threshold.budget import Budget
    from lrsl.reranking.threshold.fixed import Fixed
    from lrsl.reranking.threshold.sigma2_mis import Sigma2Mis
    from lrsl.reranking.threshold.target_accuracy import TargetAccuracy
    from lrsl.reranking.view import Given, View
    from lrsl.reranking.view.class_mean import ClassMean
    from lrsl.reranking.view.cross_encoder import CrossEncoder
    from lrsl.reranking.view.instances import Instances
    from lrsl.reranking.view.label_similarity import LabelSimilarity
    from lrsl.reranking.view.lexical import Lexical
    from lrsl.reranking.view.linear_probe import LinearProbe
    from lrsl.reranking.view.llm import LLMChoice
    from lrsl.reranking.view.second_classifier import SecondClassifier

    __version__: str

# said when transformers is imported: an acceleration that is not installed, for a quantisation nobody asked for
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

PLUGIN = {
    "Reranker": "lrsl.plugin.reranker",
    "RerankedBatches": "lrsl.plugin.batches",
    "RerankedClassifier": "lrsl.plugin.sklearn",
    "RerankedFunction": "lrsl.plugin.function",
    "RerankedPipeline": "lrsl.plugin.pipeline",
    "from_function": "lrsl.plugin.function",
}
"""What is for those who have a classifier, and the module that has it."""

__all__ = [
    "AuthorsEncoder",
    "AuthorsLLM",
    "BestGain",
    "Budget",
    "ClassMean",
    "CrossEncoder",
    "Detector",
    "DetectorWithoutFit",
    "Endpoint",
    "Entropy",
    "Fixed",
    "Fusion",
    "Given",
    "Instances",
    "LLMChoice",
    "LabelSimilarity",
    "Lexical",
    "LinearProbe",
    "LogLinear",
    "Margin",
    "MaxProbability",
    "Paper",
    "RerankedBatches",
    "RerankedClassifier",
    "RerankedFunction",
    "RerankedPipeline",
    "Reranker",
    "SecondClassifier",
    "Sigma2Mis",
    "TargetAccuracy",
    "ThresholdRule",
    "TopKProbabilityGap",
    "TopKVariance",
    "View",
    "__version__",
    "from_function",
]


def __getattr__(name: str) -> Any:
    """Look for what has a short name when it is first asked for, so that `import lrsl` does not wait for nothing."""
    if (module := PLUGIN.get(name) or PUBLIC.get(name)) is not None:
        return getattr(import_module(module), name)
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("lrsl")
    raise AttributeError(f"module 'lrsl' has no attribute {name!r}")
