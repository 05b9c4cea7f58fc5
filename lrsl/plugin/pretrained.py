"""Rerankers as folders and on the hub: saved, sent, and loaded again."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl.embedding.onnx import OnnxEmbedding
from lrsl.embedding.text_embedding import save_embedding
from lrsl.errors import InputError, said
from lrsl.nn.onnx import FOLDER, TORCH
from lrsl.plugin import card, hub, saving
from lrsl.plugin.calibration import Calibration
from lrsl.plugin.folder import sound
from lrsl.reranking.fusion.paper import Paper
from lrsl.reranking.on_hard.conformal import Conformal, restored
from lrsl.reranking.on_hard.defer import Defer
from lrsl.reranking.rule import Detection, FittedRule, Rule
from lrsl.reranking.saving import under
from lrsl.reranking.view import FittedCandidateView, FittedView, Given, View

if TYPE_CHECKING:
    from typing_extensions import Self


class Pretrained(ABC):
    """What a reranker can do as a folder of JSON and safetensors; the rest of it is in `lrsl.plugin.reranker`."""

    label_texts: list[str]
    names: list[str] | None
    k: int
    power: float | str
    rule: Rule
    views: list[View]
    deploy: str
    on_hard: str
    coverage: float
    backend: str
    report_: dict[str, Any]
    cost_: dict[str, Any]
    _embedder: SentenceTransformer | str | Path | None
    _saved_graphs: Path | None
    _fitted: FittedRule | None
    _fitted_views: list[FittedView | FittedCandidateView]
    _conformal: Conformal | None
    _calibration: Calibration | None

    @abstractmethod
    def __init__(
        self, embedder: SentenceTransformer | str | Path | None, label_texts: Iterable[str], **settings: Any
    ) -> None: ...

    @property
    @abstractmethod
    def embedding(self) -> SentenceTransformer:
        """The text embedding, loaded when it is first asked for."""

    @abstractmethod
    def _ready(self) -> FittedRule: ...

    @abstractmethod
    def _given(self) -> Given: ...

    @abstractmethod
    def _computed(self, embedding: SentenceTransformer) -> OnnxEmbedding | None: ...

    def save_pretrained(self, folder: str | Path) -> None:
        """Save settings, what was learnt, the label texts and the embedding, readable by `from_pretrained`.

        Beside them stands the card, `README.md`, and with another backend than torch the graph that it computes.

        Raises:
            ValueError: a component of your own cannot be written down.
            InputError: a file is in the way.
        """
        self._save(Path(folder), card.FOLDER)
        if self._embedder is not None and (computed := self._computed(self.embedding)) is not None:
            computed.save(Path(folder) / FOLDER, self.backend)

    def card(self, where: str = card.FOLDER) -> str:
        """Return in Markdown what this reranker is worth, how it was fitted and on what, its labels and its limits.

        It has the metadata of the hub in front. Label texts stand in blocks of code, so that nothing in them is read as
        markup.

        Args:
            where: the folder, or `OWNER/NAME` on the hub, that its example loads from.

        Raises:
            RuntimeError: `fit` was not called.
            ValueError: a component of your own cannot be written down.
        """
        return card.text(self._written()[0], embeds=self._embedder is not None, where=where)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str = "Upload reranker",
    ) -> str:
        """Send what `save_pretrained` writes to the hub, and return the address of the commit.

        With it go the label texts, and of views that learn from training rows their vectors (`lrsl.Instances`), their
        words and pairs of words (`lrsl.Lexical`), or a regression and the encoder it is on (`lrsl.LinearProbe`).

        Args:
            repo_id: `OWNER/NAME`; made where there is none. What an earlier reranker has left there is replaced, its
                card too.
            private: whether a new one is seen by its owner alone; what the owner's settings say unless given.
            token: one that may write; that of `hf auth login` or `HF_TOKEN` unless given. It is never written down.
            revision: the branch, made where there is none; main unless given.
            commit_message: what the commit says.

        Raises:
            RuntimeError: `fit` was not called.
            ValueError: a component of your own cannot be written down.
            InputError: the hub cannot be reached or refuses, no repository may be called so, or the embedding has a
                file that is no data.
        """
        hub.check_id(repo_id)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "reranker"
            self._save(folder, repo_id)
            return hub.pushed(
                folder, repo_id, private=private, token=token, revision=revision, commit_message=commit_message
            )

    def _save(self, folder: Path, where: str) -> None:
        about, learnt = self._written()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"{folder} is no folder, or lies in none; name another to save the reranker in") from None
        except OSError as error:
            raise InputError(
                f"{folder} cannot be made ({error.strerror}); name another folder to save the reranker in"
            ) from None
        if self._embedder is not None:
            save_embedding(self.embedding, folder / saving.EMBEDDING)
        made = card.text(about, embeds=self._embedder is not None, where=where)
        saving.write(folder, about, learnt, made)

    def _written(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what this reranker says of itself, and the tensors that were learnt."""
        about, learnt = saving.saved_rule(
            self.rule,
            self._ready(),
            self.views,
            [view.learnt() for view in self._fitted_views],
            label_texts=self.label_texts,
            k=self.k,
            on_hard=self.on_hard,
            coverage=self.coverage,
            names=self.names,
            conformal=self._conformal,
            calibration=self._calibration,
        )
        return {**about, "deploy": self.deploy, "report": self.report_, "cost": self.cost_}, learnt

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        defer: Defer | None = None,
        allow_server: bool = False,
        backend: str = TORCH,
        embedder: SentenceTransformer | str | Path | None = None,
    ) -> Self:
        """Load what `save_pretrained` or `push_to_hub` saved; nothing of it is executed, and nothing it names imported.

        From the hub come JSON, safetensors and vocabularies alone, whatever else lies there. A component of your own is
        found when its module has been imported before.

        Args:
            folder: where it was saved; or `OWNER/NAME` on the hub, where there is no such folder.
            revision: branch, tag or commit on the hub.
            token: of the hub, for what is not public; that of `hf auth login` or `HF_TOKEN` unless given.
            defer: who answers hard rows, which is not saved; needed where it was saved with `on_hard="defer"`.
            allow_server: whether hard texts may be sent to the server that a saved view names, such as
                `lrsl.LLMChoice`, with the key that it names; a folder from a stranger could name any.
            backend: what computes the embedding, as for `Reranker`, whatever it was saved with; a graph that lies in
                the folder is taken, and else made.
            embedder: takes the place of the embedding in the folder, or of one that is not there; it must be the one
                that the reranker was fitted with.

        Raises:
            ValueError: there is no reranker in the folder, it is damaged or of a later version, a component is not
                imported, `defer` or the embedding is missing, `defer` has no effect, revision or token are given with a
                folder, or a view sends texts to a server without being allowed.
            InputError: it is not on the hub, or the hub cannot be reached; `backend="onnx"` without ONNX Runtime.
        """
        folder = hub.located(folder, revision, token)
        saved = saving.read(folder)
        about, on_hard = saved.about, saved.about.get("on_hard", {})
        if on_hard.get("action") == "defer" and defer is None:
            raise ValueError(
                f"{folder} was saved with on_hard='defer', and a function is never saved; give it again, as in "
                "from_pretrained(folder, defer=ask)"
            )
        for view in saved.views:
            if (server := view.sends_to()) and not allow_server:
                raise ValueError(
                    f"{folder} sends hard texts to {said(server)} (view {type(view).__name__}); if you trust that "
                    "server with them, say so with from_pretrained(folder, allow_server=True)"
                )
        reranker = cls(
            saved.embedding if embedder is None else embedder,
            about["label_texts"],
            k=about["k"],
            detector=saved.rule.detector,
            threshold=saved.rule.threshold,
            views=saved.views,
            fusion=saved.rule.fusion,
            deploy=about.get("deploy", "always"),
            on_hard=on_hard.get("action", "rerank"),
            coverage=on_hard.get("coverage", 0.9),
            names=about.get("names"),
            defer=defer,
            backend=backend,
        )
        reranker._saved_graphs = folder / FOLDER
        reranker.power = saved.rule.fusion.power if isinstance(saved.rule.fusion, Paper) else 1.0
        reranker.report_, reranker.cost_ = dict(about["report"]), dict(about.get("cost", {}))
        try:
            with sound(folder):
                reranker._take(float(about["sigma2_mis"]), saved.tensors)
        except RuntimeError:
            if reranker._embedder is not None:
                raise
            raise ValueError(
                f"{folder} has no embedding; give the one that it was fitted with, as in from_pretrained(folder, "
                "embedder=…)"
            ) from None
        return reranker

    def _take(self, threshold: float, tensors: Mapping[str, Tensor]) -> None:
        """Take back what was learnt."""
        detector = self.rule.detector.restore(under("detector", tensors))
        self._fitted = FittedRule(Detection(detector, threshold), self.rule.fusion.restore(under("fusion", tensors)))
        given = self._given()
        self._fitted_views = [
            view.restore(learnt, given) if (learnt := under(f"view.{number}", tensors)) else view.fit(given)
            for number, view in enumerate(self.views)
        ]
        if conformal := under("conformal", tensors):
            self._conformal = restored(conformal)
        if calibration := under("calibration", tensors):
            self._calibration = Calibration.restored(calibration)
