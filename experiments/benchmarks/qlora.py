"""Peak memory and speed of QLoRA training at full size, with random weights: needs a GPU, about 16 GB of disk.

Random weights serve, since neither memory nor speed depends on their values. They are written to disk once in bfloat16
and loaded by the same code as in a run, so that loading counts too. A step is forward, backward, clipping and AdamW, on
batches without padding, under the precision that a run would choose.

python -m experiments.benchmarks.qlora --shape mistral-7b
python -m experiments.benchmarks.qlora --shape llama-2-7b --out llama-2-7b.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch.nn.utils import clip_grad_norm_
from transformers import AutoModel, LlamaConfig, MistralConfig, PreTrainedTokenizerFast

from lrsl.config import ModelConfig
from lrsl.models.batches import Batch
from lrsl.models.llm import LLMClassifier, load_llm
from lrsl.models.optimisation import adamw, trainable
from lrsl.models.pretrained import quiet
from lrsl.training.trainer import native_precision

GIB = 2**30
CARD = 24.0  # GiB of the paper's card
CLASSES = 34
WARM_UP = 3
SHAPES = {  # the classes' own defaults are those of 7 billion parameters
    "mistral-7b": MistralConfig(sliding_window=None),
    "llama-2-7b": LlamaConfig(max_position_embeddings=4096),
}


def write_shape(shape: str, folder: Path, device: str) -> None:
    """Write a language model of that shape, with random weights, and a tokenizer that nobody will ask."""
    with torch.device(device), quiet():
        model = AutoModel.from_config(SHAPES[shape], dtype=torch.bfloat16)
        model.save_pretrained(folder)
    words = {"<unk>": 0, "<s>": 1, "</s>": 2}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<unk>")), unk_token="<unk>", pad_token="<unk>"
    )
    tokenizer.save_pretrained(folder)


def steps(network: LLMClassifier, settings: ModelConfig, count: int) -> float:
    """Take training steps on full batches and return the seconds they took."""
    shape = (settings.batch_size, settings.max_length)
    parameters = trainable(network.parameters())
    groups: list[dict[str, Any]] = [{"params": parameters, "lr": settings.lr}]
    optimizer, schedule = adamw(groups, weight_decay=settings.weight_decay, steps=count, warmup=settings.warmup)
    mixed = native_precision("cuda") == "bf16-mixed"
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        batch: Batch = {
            "input_ids": torch.randint(3, 32_000, shape, device="cuda"),
            "attention_mask": torch.ones(shape, dtype=torch.int64, device="cuda"),
            "label": torch.randint(CLASSES, shape[:1], device="cuda"),
        }
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            loss = network.loss(batch)
        loss.backward()
        clip_grad_norm_(parameters, settings.gradient_clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(shape: str, count: int, settings: ModelConfig) -> dict[str, Any]:
    """Return peak memory and speed of training a network of that shape, its pretrained part in `settings`."""
    torch.cuda.reset_peak_memory_stats()
    network = load_llm(settings, CLASSES).to("cuda").train()
    loading = torch.cuda.max_memory_allocated() / GIB
    steps(network, settings, WARM_UP)
    torch.cuda.reset_peak_memory_stats()
    seconds = steps(network, settings, count)
    peak = torch.cuda.max_memory_allocated() / GIB
    return {
        "shape": shape,
        "quantize": settings.quantize,
        "batch_size": settings.batch_size,
        "tokens": settings.max_length,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "trainable_parameters": sum(parameter.numel() for parameter in trainable(network.parameters())),
        "peak_gib": round(peak, 2),
        "peak_reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
        "peak_gib_loading": round(loading, 2),
        "fits_the_papers_card": max(peak, loading) < CARD,
        "tokens_per_second": round(count * settings.batch_size * settings.max_length / seconds),
        "steps": count,
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description="Peak memory and speed of QLoRA training at full size.")
    parser.add_argument("--shape", choices=list(SHAPES), default="mistral-7b")
    parser.add_argument("--quantize", choices=("nf4", "none"), default="nf4")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, help="also write the result into this file")
    parser.add_argument("--folder", type=Path, help="where the random weights go for a while")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a GPU, and torch finds none here; run it on a machine with CUDA")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        write_shape(asked.shape, Path(folder), "cuda")
        torch.cuda.empty_cache()
        settings = ModelConfig(
            name=asked.shape,
            architecture="llm",
            pretrained=folder,
            quantize=asked.quantize,
            batch_size=asked.batch_size,
            max_length=asked.tokens,
            lr=1e-5,
            weight_decay=0.001,
        )
        result = measure(asked.shape, asked.steps, settings)
    print(json.dumps(result, indent=2))
    if asked.out is not None:
        asked.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
