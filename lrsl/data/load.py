"""From a data set's configuration to its `Corpus`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from lrsl.config.schema import DatasetConfig
from lrsl.data.cmcc import read_cmcc34
from lrsl.data.corpus import Corpus
from lrsl.data.few_shot import few_shot
from lrsl.data.forms import with_form
from lrsl.data.iflytek import read_iflytek119
from lrsl.data.label_texts import label_texts
from lrsl.data.samples import read_table_corpus
from lrsl.errors import InputError, nearest

logger = logging.getLogger("lrsl.data")


def load_corpus(config: DatasetConfig, data_dir: str | None) -> Corpus:
    """Return the corpus that a data set's configuration describes.

    Args:
        config: the `dataset` part of the configuration.
        data_dir: folder of local copies; None for the public addresses.

    Raises:
        InputError: something in the configuration or in the files is wrong; the sentence says where.
    """
    config = with_form(config, data_dir)
    readers: dict[str, Callable[[DatasetConfig, str | None], Corpus]] = {
        "table": read_table_corpus,
        "cmcc34": read_cmcc34,
        "iflytek119": read_iflytek119,
        "telecom34": _read_telecom34,
    }
    if config.reader not in readers:
        raise InputError(
            f"dataset.reader={config.reader} is unknown; use one of {', '.join(readers)}"
            f"{nearest(config.reader, list(readers))}"
        )
    corpus = readers[config.reader](config, data_dir)
    if config.per_class is not None:
        corpus = few_shot(corpus, config.per_class, config.drawn_by)
    texts = label_texts(corpus.labels, corpus.label_texts, config.label_texts, data_dir)
    seen = set(corpus.train.texts)
    repeated = sum(text in seen for text in corpus.test.texts)
    if repeated:
        logger.info("%s: %d of %d test texts also stand in train", config.name, repeated, len(corpus.test))
    return replace(corpus, name=config.name, label_texts=texts)


def _read_telecom34(config: DatasetConfig, data_dir: str | None) -> Corpus:
    from lrsl.data.telecom34 import load  # noqa: PLC0415  (generates the calls; only who asks for them waits)

    for key in ("train", "val", "test"):
        if getattr(config, key) is not None:
            raise InputError(f"dataset.{key} has no meaning for the embedded telecom34; use dataset=custom for files")
    return load(config.size)
