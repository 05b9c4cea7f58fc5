"""QLoRA training at full size, ours against a plain script of transformers and PEFT: peak memory and tokens per second.

Needs a GPU, and about 16 GB of disk for random weights, which serve since neither memory nor speed depends on their
values. They are written once in bfloat16 and loaded by the same code as in a run, so that loading counts too.

Each system trains twice: on texts that fill every batch, which is where memory peaks, and on texts of different
lengths, as dialogues have, of which the padding is not counted as tokens. The peer is transformers' `Trainer` on
`AutoModelForSequenceClassification` in 4 bits, PEFT's `prepare_model_for_kbit_training` and LoRA of the same rank on
all linear layers, `DataCollatorWithPadding` and bfloat16, as their documentation shows it; its other arguments are the
defaults, except batch size and learning rate.

python -m experiments.benchmarks.qlora --shape mistral-7b
python -m experiments.benchmarks.qlora --shape llama-2-7b --out llama-2-7b.json
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    DataCollatorWithPadding,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from experiments.benchmarks.bare import bare, classifier_module
from experiments.benchmarks.plan import SEED
from experiments.benchmarks.turns import TransformersSteps
from experiments.benchmarks.workload import Workload, configured
from lrsl.data import Corpus, Split
from lrsl.nn.pretrained import load_tokenizer, quiet
from lrsl.training.trainer import precision

GIB = 2**30
CARD = 24.0  # GiB of the paper's card
CLASSES = 34
WARM_UP = 3
TARGET = 1.3
SHAPES: Mapping[str, PretrainedConfig] = {  # the classes' own defaults are those of 7 billion parameters
    "mistral-7b": MistralConfig(sliding_window=None),
    "llama-2-7b": LlamaConfig(max_position_embeddings=4096),
}


@dataclass
class Meter:
    """Counts tokens and seconds of training steps, the first of which do not count.

    Attributes:
        device: where the steps are computed.
        tokens: real tokens of each step so far.
        ends: when each step ended.
    """

    device: torch.device
    tokens: list[int] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def batch(self, batch: Mapping[str, Any]) -> None:
        """Count the tokens of the next step."""
        self.tokens.append(int(batch["attention_mask"].sum()))

    def step(self) -> None:
        """Note that a step has ended; once the device is warm, what it took in memory so far is forgotten."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            if len(self.ends) + 1 == WARM_UP:
                torch.cuda.reset_peak_memory_stats()
        self.ends.append(time.perf_counter())

    @property
    def tokens_per_second(self) -> float:
        """Real tokens per second."""
        steps = slice(WARM_UP, len(self.ends))
        return sum(self.tokens[steps]) / (self.ends[-1] - self.ends[WARM_UP - 1])


def write_shape(shape: PretrainedConfig, folder: Path, device: str) -> None:
    """Write a language model of that shape, with random weights, and a tokenizer to whom each number is a word."""
    with torch.device(device), quiet():
        AutoModel.from_config(shape, dtype=torch.bfloat16).save_pretrained(folder)
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {str(number): number for number in range(3, shape.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="</s>").save_pretrained(folder)


def workload(folder: Path, steps: int, longest: int, batch_size: int, quantize: str, *, full: bool) -> Workload:
    """Return a run of `model=llama2` on random texts: all of the longest length, or of different ones.

    These are drawn from a log-normal distribution with its median at a third of the longest.
    """
    keys: dict[str, Any] = {
        "pretrained": folder,
        "max_length": longest,
        "batch_size": batch_size,
        "quantize": quantize,
        "epochs": 1,
    }
    keys["gradient_checkpointing"] = True  # on both sides, however much memory there is
    config = configured("banking77", ["model=llama2", *(f"model.{key}={value}" for key, value in keys.items())])
    config.trainer.accelerator = "auto"
    rng = random.Random(SEED)
    words = [str(number) for number in range(3, json.loads((folder / "config.json").read_text())["vocab_size"])]
    rows = (WARM_UP + steps) * batch_size
    drawn = [min(longest, max(8, round(rng.lognormvariate(0, 0.6) * longest / 3))) for _ in range(rows)]
    texts = [" ".join(rng.choices(words, k=longest if full else length)) for length in drawn]
    labels = [rng.randrange(CLASSES) for _ in range(rows)]
    split = Split([str(row) for row in range(rows)], texts, labels)
    names = [str(label) for label in range(CLASSES)]
    return Workload(config, Corpus("random", names, names, split, split.take([0]), split.take([0])))


def ours(work: Workload, folder: Path, meter: Meter) -> None:
    """Train as the stage of a run does."""
    module = classifier_module(work).to(meter.device)
    training = bare(module, work)
    for batch in training.loader:
        meter.batch(batch)
        training.step({name: values.to(meter.device, non_blocking=True) for name, values in batch.items()})
        meter.step()


def peer(work: Workload, folder: Path, meter: Meter) -> None:
    """Train as the documentation of transformers and PEFT shows it."""
    settings, train = work.config.model, work.corpus.train
    tokenizer = load_tokenizer(settings.pretrained)
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    options: dict[str, Any] = {"quantization_config": four_bit} if settings.quantize == "nf4" else {}
    with quiet():
        network = AutoModelForSequenceClassification.from_pretrained(
            settings.pretrained,
            num_labels=CLASSES,
            dtype=torch.bfloat16,
            device_map={"": meter.device},
            trust_remote_code=False,
            **options,
        )
    network.config.pad_token_id = tokenizer.pad_token_id
    prepare: Callable[..., Any] = prepare_model_for_kbit_training
    network = prepare(network, use_gradient_checkpointing=settings.gradient_checkpointing)
    lora = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        target_modules="all-linear",
    )
    collate = DataCollatorWithPadding(tokenizer)

    def counted(samples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = collate(samples)
        meter.batch(batch)
        return batch

    trainer = Trainer(
        model=get_peft_model(network, lora),
        args=TrainingArguments(
            output_dir=str(folder / "peer"),
            num_train_epochs=1,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.lr,
            seed=SEED,
            bf16=precision(work.config.trainer) == "bf16-mixed",
            gradient_checkpointing=settings.gradient_checkpointing,
            use_cpu=meter.device.type == "cpu",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict(
            {**tokenizer(train.texts, truncation=True, max_length=settings.max_length), "labels": train.labels}
        ),
        data_collator=counted,
        callbacks=[TransformersSteps(meter.step)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


SYSTEMS: Mapping[str, Callable[[Workload, Path, Meter], None]] = {"ours": ours, "peer": peer}


def measure(system: str, work: Workload, folder: Path, device: torch.device) -> dict[str, Any]:
    """Train and return speed and, on a GPU, peak memory while loading and while training."""
    gc.collect()
    meter = Meter(device)
    memory: dict[str, Any] = {}
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the libraries advise is not what is measured
        SYSTEMS[system](work, folder, meter)
    if device.type == "cuda":
        memory["peak_gib"] = round(torch.cuda.max_memory_allocated() / GIB, 2)
        memory["peak_reserved_gib"] = round(torch.cuda.max_memory_reserved() / GIB, 2)
    return {"tokens_per_second": round(meter.tokens_per_second, 1), **memory}


def compare(folder: Path, device: str, *, steps: int, tokens: int, batch_size: int, quantize: str) -> dict[str, Any]:
    """Train both systems on full batches and on texts as long as dialogues, and return what was found."""
    compared: dict[str, Any] = {"quantize": quantize, "batch_size": batch_size, "tokens": tokens, "steps": steps}
    for lengths in ("full", "dialogues"):
        work = workload(folder, steps, tokens, batch_size, quantize, full=lengths == "full")
        result = {name: measure(name, work, folder, torch.device(device)) for name in SYSTEMS}
        speed = {name: of_system["tokens_per_second"] for name, of_system in result.items()}
        compared[lengths] = {**result, "ours_over_peer": round(speed["ours"] / speed["peer"], 3)}
    return compared


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description="QLoRA training at full size, ours and a plain script.")
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
        write_shape(SHAPES[asked.shape], Path(folder), "cuda")
        compared = compare(
            Path(folder),
            "cuda",
            steps=asked.steps,
            tokens=asked.tokens,
            batch_size=asked.batch_size,
            quantize=asked.quantize,
        )
    fullest = compared["full"]["ours"]["peak_gib"]
    result = {
        "shape": asked.shape,
        **compared,
        "fits_the_papers_card": fullest < CARD,
        "fast_enough": compared["dialogues"]["ours_over_peer"] >= TARGET,
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=2))
    if asked.out is not None:
        asked.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
