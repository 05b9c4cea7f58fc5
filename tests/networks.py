"""Tiny networks of kinds that people hand in, beside those of `tiny`, each with its tokenizer in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tiny import VOCABULARY, _tokenizer
from transformers import PreTrainedTokenizerFast

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
GROUPED = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", SIZES),
    "roberta": ("Roberta", {**SIZES, "pad_token_id": 1}),
    "mpnet": ("MPNet", {**SIZES, "pad_token_id": 1}),
    "xlm_roberta": ("XLMRoberta", {**SIZES, "pad_token_id": 1}),
    "camembert": ("Camembert", {**SIZES, "pad_token_id": 1}),
    "data2vec": ("Data2VecText", {**SIZES, "pad_token_id": 1}),
    "esm": ("Esm", {**SIZES, "pad_token_id": 1, "position_embedding_type": "absolute", "mask_token_id": 4}),
    "longformer": ("Longformer", {**SIZES, "pad_token_id": 1, "attention_window": 8}),
    "ibert": ("IBert", {**SIZES, "pad_token_id": 1}),
    "electra": ("Electra", {**SIZES, "embedding_size": 16}),
    "albert": ("Albert", {**SIZES, "embedding_size": 16}),
    "deberta": ("DebertaV2", {**SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "distilbert": (
        "DistilBert",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64},
    ),
    "modernbert": ("ModernBert", {**SIZES, "local_attention": 4, "global_attn_every_n_layers": 2, "pad_token_id": 0}),
    "llama": ("Llama", GROUPED),
    "gemma2": ("Gemma2", {**GROUPED, "attn_logit_softcapping": 0.05, "query_pre_attn_scalar": 8, "sliding_window": 4}),
    "mistral": ("Mistral", {**GROUPED, "sliding_window": 4}),
    "qwen2": ("Qwen2", GROUPED),
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "opt": ("OPT", {**SIZES, "ffn_dim": 64, "word_embed_proj_dim": 32, "pad_token_id": 1}),
    "t5": ("T5", {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}),
    "bart": (
        "Bart",
        {
            **{"d_model": 32, "max_position_embeddings": 64, "pad_token_id": 1},
            **{
                f"{part}_{name}": value
                for part in ("encoder", "decoder")
                for name, value in (("layers", 1), ("attention_heads", 4), ("ffn_dim", 64))
            },
        },
    ),
    "vit": ("ViT", {**SIZES, "image_size": 8, "patch_size": 4}),
}


def write(kind: str, folder: Path, *, limit: int | None = None, **changed: Any) -> Path:
    """Write a network into a folder and return it.

    Args:
        kind: one of `KINDS`.
        folder: where to.
        limit: what the tokenizer says is the longest input; None for a tokenizer that does not say.
        changed: settings of its configuration.
    """
    name, settings = KINDS[kind]
    words = [*VOCABULARY, *(f"word{i}" for i in range(50))]
    if settings.get("pad_token_id") == 1:
        plain = _tokenizer(["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<pad> <unk> <s> </s>", words)
    else:
        plain = _tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], "[PAD] [UNK] [CLS] [SEP]", words)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer,
        **{role: getattr(plain, role) for role in ("pad_token", "unk_token", "cls_token", "sep_token")},
        **({} if limit is None else {"model_max_length": limit}),
    )
    config = getattr(transformers, f"{name}Config")(**{**settings, "vocab_size": len(tokenizer), **changed})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = getattr(transformers, f"{name}Model")(config).float()
        with torch.no_grad():
            for parameter in network.parameters():  # scores far from 0, so that what is done to them shows
                parameter.mul_(3)
        network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
