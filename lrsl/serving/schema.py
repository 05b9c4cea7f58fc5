"""What bodies look like, for OpenAPI."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

Logits = list[list[float] | dict[str, float]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Texts(_Strict):
    """Texts that the classifier is asked about."""

    texts: list[str] = Field(description="the texts", examples=[["where is my card?"]])
    k: int | None = Field(
        None, description="number of candidates before and after reranking; the reranker's own if null"
    )


class TextsAndLogits(Texts):
    """Texts, and what a classifier says of them."""

    logits: Logits = Field(
        description="logits or log-probabilities, a row per text: a number per label, in the order of /health's "
        "labels, or an object from every label to its number",
        examples=[[[2.1, 1.9, -0.3]]],
    )


class TextsMaybeLogits(Texts):
    """Texts, and what another classifier says of them; without that, the one that is served is asked."""

    logits: Logits | None = Field(None, description="as for /rerank; where left out, the classifier gives them")


class Candidate(_Strict):
    """A label that may be the answer."""

    label: str = Field(description="what it is called")
    before: float = Field(description="the classifier's probability")
    after: float | None = Field(description="what it is ranked by after reranking; as before in easy rows")


class Answer(_Strict):
    """What becomes of a text."""

    answer: str | None = Field(description="the label; null for no answer")
    hard: bool = Field(description="whether the classifier hesitates")
    labels: list[str] | None = Field(None, description="the set of labels, where the reranker answers with sets")
    candidates: list[Candidate] = Field(description="the labels among the k best before or after, the best after first")


class Answers(_Strict):
    """An answer for each text."""

    answers: list[Answer] = Field(description="in the order of the texts")


class ExplainedCandidate(Candidate):
    """A label that may be the answer, and what each view makes of it."""

    views: dict[str, float | None] = Field(description="each view's score, by its name; null where it gave none")


class Explanation(_Strict):
    """Why a text has the answer it has."""

    text: str
    answer: str = Field(description="what classifier and reranker say together, whatever is done with hard texts")
    hard: bool = Field(description="whether the classifier hesitates: hardness below threshold")
    hardness: float | None = Field(description="the detector's number, low where the classifier hesitates")
    threshold: float | None = Field(description="below it a text is hard")
    reranked: bool = Field(description="whether its labels were ranked anew")
    candidates: list[ExplainedCandidate] = Field(description="as in answers")


class Explanations(_Strict):
    """An explanation for each text."""

    explanations: list[Explanation] = Field(description="in the order of the texts")


class Error(_Strict):
    """Why a request is not answered."""

    error: str = Field(description="one sentence")


class Health(_Strict):
    """What is served."""

    status: str = Field(description="ok")
    name: str = Field(description="the folder's name")
    serves: str = Field(description="classifier, which takes texts, or reranker, which takes logits with them")
    labels: list[str] = Field(description="in the order of the logits' columns")
    k: int = Field(description="number of candidates unless a request says another")
    detector: str = Field(description="what tells hard texts from easy ones")
    views: list[str] = Field(description="what scores the labels of hard texts")
    on_hard: str = Field(description="what becomes of hard texts: rerank, abstain, set or defer")
    reranks: bool = Field(description="whether hard texts are reranked")
    verdict: str | None = Field(description="why, as held-out rows have told")
    limits: dict[str, float] = Field(description="what one request may ask for")
    versions: dict[str, str]
