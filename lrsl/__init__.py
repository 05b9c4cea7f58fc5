"""Logits reranking via semantic labels: better answers on the samples a text classifier hesitates on."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrsl.plugin.reranker import Reranker

# said when transformers is imported: an acceleration that is not installed, for a quantisation nobody asked for
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

__all__ = ["Reranker"]


def __getattr__(name: str) -> Any:
    """Import `Reranker` when it is first asked for, so that `import lrsl` does not wait for torch."""
    if name == "Reranker":
        from lrsl.plugin.reranker import Reranker  # noqa: PLC0415

        return Reranker
    raise AttributeError(f"module 'lrsl' has no attribute {name!r}")
