"""Logits reranking via semantic labels: better answers on the samples a text classifier hesitates on."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrsl.plugin.reranker import Reranker

    __version__: str

# said when transformers is imported: an acceleration that is not installed, for a quantisation nobody asked for
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

__all__ = ["Reranker", "__version__"]


def __getattr__(name: str) -> Any:
    """Look for `Reranker` and `__version__` when they are first asked for, so that `import lrsl` waits for nothing."""
    if name == "Reranker":
        from lrsl.plugin.reranker import Reranker  # noqa: PLC0415

        return Reranker
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("lrsl")
    raise AttributeError(f"module 'lrsl' has no attribute {name!r}")
