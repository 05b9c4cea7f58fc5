"""Networks of two layers and a corpus of four labels, made on the spot: everything trains on them in a second."""

import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from lrsl.config.schema import (
    Config,
    DatasetConfig,
    EmbeddingConfig,
    LoggerConfig,
    ModelConfig,
    RerankerConfig,
    TrainerConfig,
)

LABELS = ["card", "cash", "loan", "rate"]
WORDS = {label: [f"{label}{i}" for i in range(5)] for label in LABELS}
VOCABULARY = [*LABELS, *(word for words in WORDS.values() for word in words), "the", "a", "please"]
POSITIONS = 24  # the longest input of either network


def text(label: str, rng: random.Random) -> str:
    """Return two to four words of a label among one of any other and some that say nothing."""
    words = rng.choices(WORDS[label], k=rng.randint(2, 4)) + rng.choices(WORDS[rng.choice(LABELS)], k=1)
    words += rng.choices(["the", "a", "please"], k=rng.randint(0, 5))
    rng.shuffle(words)
    return " ".join(words)


def samples(n: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """Return n texts, and their labels as positions in `LABELS`; every tenth label is wrong."""
    rng = random.Random(seed)
    labels = [i % len(LABELS) for i in range(n)]
    rng.shuffle(labels)
    texts = [text(LABELS[label], rng) for label in labels]
    return texts, [(label + 1) % len(LABELS) if i % 10 == 9 else label for i, label in enumerate(labels)]


def write_csv(path: Path, n: int, seed: int) -> Path:
    """Write n samples with the columns `text` and `label`."""
    texts, labels = samples(n, seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *zip(texts, (LABELS[label] for label in labels), strict=True)])
    return path


def write_corpus(folder: Path) -> Path:
    """Write `train.csv` and `test.csv` into a folder and return it."""
    write_csv(folder / "train.csv", 240, seed=1)
    write_csv(folder / "test.csv", 60, seed=2)
    return folder


def vocabulary(texts: Iterable[str]) -> list[str]:
    """Return the words of texts, a Chinese character being one, and the characters that spell any other word."""
    clean, split = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = {word for text in texts for word, _ in split.pre_tokenize_str(clean.normalize_str(text))}
    characters = {character for word in words for character in word}
    return sorted(words | characters | {f"##{character}" for character in characters})


def write_bert(folder: Path, words: Sequence[str] = VOCABULARY, positions: int = POSITIONS) -> Path:
    """Write a BERT with its tokenizer, which knows some words, into a folder and return it."""
    tokenizer = _tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], "[PAD] [UNK] [CLS] [SEP]", words)
    config = BertConfig(max_position_embeddings=positions, pad_token_id=0, **_sizes(len(tokenizer)))
    return _write(BertModel, config, tokenizer, folder)


def write_roberta(folder: Path, words: Sequence[str] = VOCABULARY, positions: int = POSITIONS) -> Path:
    """Write a RoBERTa, whose padding is token 1 and whose positions start at 2, into a folder and return it."""
    tokenizer = _tokenizer(["<s>", "<pad>", "</s>", "<unk>"], "<pad> <unk> <s> </s>", words)
    sizes = _sizes(len(tokenizer))
    config = RobertaConfig(max_position_embeddings=positions + 2, pad_token_id=1, type_vocab_size=1, **sizes)
    return _write(RobertaModel, config, tokenizer, folder)


def write_llama(folder: Path, words: Sequence[str] = VOCABULARY) -> Path:
    """Write a Llama with its tokenizer, which cannot pad, into a folder and return it."""
    tokenizer = _llm_tokenizer(words)
    return _write(LlamaForCausalLM, LlamaConfig(**_llm_sizes(len(tokenizer))), tokenizer, folder)


def write_mistral(folder: Path, words: Sequence[str] = VOCABULARY) -> Path:
    """Write a Mistral with its tokenizer, which cannot pad, into a folder and return it."""
    tokenizer = _llm_tokenizer(words)
    config = MistralConfig(sliding_window=None, **_llm_sizes(len(tokenizer)))
    return _write(MistralForCausalLM, config, tokenizer, folder)


def config(corpus: Path, pretrained: Path, *, seed: int = 0) -> Config:
    """Return a run over the tiny corpus, two epochs for each stage, that draws nothing and asks nobody."""
    return Config(
        dataset=DatasetConfig(name="tiny", train=str(corpus / "train.csv"), test=str(corpus / "test.csv")),
        model=ModelConfig(
            name="tiny", pretrained=str(pretrained), epochs=2, batch_size=16, lr=3e-3, head_lr=1e-2, pooling="mean"
        ),
        embedding=EmbeddingConfig(
            name="tiny", pretrained=str(pretrained), epochs=2, batch_size=32, lr=3e-3, negatives="confused"
        ),
        reranker=RerankerConfig(
            detector={"_target_": "lrsl.TopKVariance", "k": 3},
            threshold={"_target_": "lrsl.Sigma2Mis"},
            view={"_target_": "lrsl.LabelSimilarity"},
            fusion={"_target_": "lrsl.Paper"},
        ),
        trainer=TrainerConfig(accelerator="cpu", precision="32-true", progress=False),
        logger=LoggerConfig(name="csv"),
        seed=seed,
        cache=False,
    )


def _sizes(tokens: int) -> dict[str, int]:
    return {
        "vocab_size": tokens,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }


def _llm_sizes(tokens: int) -> dict[str, int]:
    return {
        "vocab_size": tokens,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
        "max_position_embeddings": 64,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _llm_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    tokenizer = _tokenizer(["<unk>", "<s>", "</s>"], "<unk> <unk> <s> </s>", words)
    backend = tokenizer.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def _tokenizer(special: Sequence[str], roles: str, words: Sequence[str]) -> PreTrainedTokenizerFast:
    pad, unknown, first, last = roles.split()
    tokens = {token: i for i, token in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordPiece(tokens, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, tokens[token]) for token in (first, last)]
    tokenizer.post_processor = processors.TemplateProcessing(f"{first} $A {last}", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        unk_token=unknown,
        cls_token=first,
        sep_token=last,
        model_max_length=512,
    )


def _write(
    network: type[PreTrainedModel],
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
