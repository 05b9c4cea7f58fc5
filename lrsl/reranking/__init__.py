"""The paper's rule and its four seams: detector, threshold rule, view, fusion.

A folder per seam, a file per kind; the YAML in conf/reranker/ bears the same name.
"""

PUBLIC = {
    "TopKVariance": "lrsl.reranking.detector.topk_variance",
    "Margin": "lrsl.reranking.detector.margin",
    "MaxProbability": "lrsl.reranking.detector.max_probability",
    "Entropy": "lrsl.reranking.detector.entropy",
    "TopKProbabilityGap": "lrsl.reranking.detector.topk_probability_gap",
    "Sigma2Mis": "lrsl.reranking.threshold.sigma2_mis",
    "Budget": "lrsl.reranking.threshold.budget",
    "TargetAccuracy": "lrsl.reranking.threshold.target_accuracy",
    "BestGain": "lrsl.reranking.threshold.best_gain",
    "Fixed": "lrsl.reranking.threshold.fixed",
    "LabelSimilarity": "lrsl.reranking.view.label_similarity",
    "Instances": "lrsl.reranking.view.instances",
    "ClassMean": "lrsl.reranking.view.class_mean",
    "Lexical": "lrsl.reranking.view.lexical",
    "LinearProbe": "lrsl.reranking.view.linear_probe",
    "CrossEncoder": "lrsl.reranking.view.cross_encoder",
    "LLMChoice": "lrsl.reranking.view.llm",
    "SecondClassifier": "lrsl.reranking.view.second_classifier",
    "Paper": "lrsl.reranking.fusion.paper",
    "AuthorsEncoder": "lrsl.reranking.fusion.authors_encoder",
    "AuthorsLLM": "lrsl.reranking.fusion.authors_llm",
    "LogLinear": "lrsl.reranking.fusion.log_linear",
    "Endpoint": "lrsl.reranking.on_hard.defer",
    "Detector": "lrsl.reranking.detector",
    "DetectorWithoutFit": "lrsl.reranking.detector",
    "ThresholdRule": "lrsl.reranking.threshold",
    "View": "lrsl.reranking.view",
    "Given": "lrsl.reranking.view",
    "Fusion": "lrsl.reranking.fusion",
}
"""What goes by a short name, as in `lrsl.TopKVariance`, and the module that has it."""
