"""iFlyTek-119: descriptions of apps from CLUE, and FewCLUE's few-shot files in place of its training set."""

from __future__ import annotations

import logging
from pathlib import Path

from lrsl.config.schema import DatasetConfig
from lrsl.data.corpus import Corpus
from lrsl.data.fetch import available, locate
from lrsl.data.samples import Sample, make_corpus, read_samples, read_split, read_table_corpus, read_unlabelled
from lrsl.errors import InputError

logger = logging.getLogger("lrsl.data")

FEWCLUE = "fewclue"
FEWCLUE_FILES = tuple(f"iflytek119/fewclue/{name}.json" for name in ("train_few_all", "dev_few_all", "test_public"))
"""FewCLUE's labelled files, which are drawn from CLUE's train and dev."""


def read_iflytek119(config: DatasetConfig, data_dir: str | None) -> Corpus:
    """Return the corpus in CLUE's files; with `train=fewclue`, trained on FewCLUE's sentences instead.

    Those that also stand in validation or test are left out of train, and a warning says how many are used.

    Raises:
        InputError: a file or one of its records is wrong, or CLUE's train is not there.
    """
    if config.train == FEWCLUE:
        val = read_split("val", config, data_dir) if config.val is not None else None
        test = read_split("test", config, data_dir)
        train = _few_shot(config, data_dir, {sample.text.strip() for sample in [*(val or []), *test]})
        return make_corpus(config, train, val, test, read_unlabelled(config, data_dir))
    if config.train and not available(config.train, data_dir, config.download):
        where = f"in the working directory nor in data_dir={data_dir}" if data_dir else "in the working directory"
        raise InputError(
            f"dataset.train={config.train} is no file {where}; get it from {config.source} and name its folder with "
            f"data_dir=FOLDER, or train on FewCLUE's few-shot files (data_dir/{Path(FEWCLUE_FILES[0]).parent}/) with "
            f"dataset.train={FEWCLUE}"
        )
    return read_table_corpus(config, data_dir)


def _few_shot(config: DatasetConfig, data_dir: str | None, held_out: set[str]) -> list[Sample]:
    samples: list[Sample] = []
    for name in FEWCLUE_FILES:
        path = locate("dataset.train=fewclue, of which", name, data_dir, config.download)
        samples += read_samples(path, path.stem, config)
    train = [sample for sample in samples if sample.text.strip() not in held_out]
    if not train:
        raise InputError(
            f"{samples[0].place} and all records after it also stand in {config.test}, so dataset.train={FEWCLUE} has "
            "nothing to train on; give FewCLUE's files"
        )
    said = "%s: trains on %d few-shot sentences of FewCLUE in place of CLUE's train; %d more, held out, are left out"
    logger.warning(said, config.name, len(train), len(samples) - len(train))
    return train
