"""The trainings of `experiments.benchmarks.qlora`: ours and a plain script's, on random weights of full size.

The weights are written once in bfloat16 and loaded by the same code as in a run, so that loading counts too.

Each system trains twice: on texts that fill every batch, which is where memory peaks, and on texts of different
lengths, as dialogues have, of which the padding is not counted as tokens. The peer is transformers' `Trainer` on
`AutoModelForSequenceClassification` in 4 bits, PEFT's `prepare_model_for_kbit_training` and LoRA of the same rank on
all linear layers, `DataCollatorWithPadding` and bfloat16, as their documentation shows it; its other arguments are the
defaults, except batch size and learning rate.
"""

from __future__ import annotations

import json
import random
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
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
from experiments.benchmarks.qlora import LENGTHS, PEAK, POSITIONS, RATIO, SYSTEMS
from experiments.benchmarks.turns import TransformersSteps
from experiments.benchmarks.workload import Workload, configured
from lrsl.data import Corpus, Split
from lrsl.nn.memory import release
from lrsl.nn.pretrained import load_tokenizer, quiet
from lrsl.run.commit import commit
from lrsl.training.trainer import precision

GIB = 2**30
CLASSES = 34
WARM_UP = 3
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")
SHAPES: Mapping[str, PretrainedConfig] = {  # the classes' own defaults are those of 7 billion parameters
    "mistral-7b": MistralConfig(sliding_window=None),
    "llama-2-7b": LlamaConfig(max_position_embeddings=POSITIONS),
}


@dataclass
class Meter:
    """Counts tokens and seconds of training steps, the first of which do not count, and what loading took in memory.

    Attributes:
        device: where the steps are computed.
        tokens: real tokens of each step so far.
        ends: when each step ended.
        loading: peak memory before the first batch, as `peaks` gives it; nothing without a GPU.
    """

    device: torch.device
    tokens: list[int] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    loading: dict[str, float] = field(default_factory=dict)

    def batch(self, batch: Mapping[str, Any]) -> None:
        """Count the tokens of the next step; the first ends the loading."""
        if not self.tokens and self.device.type == "cuda":
            self.loading = peaks()
            torch.cuda.reset_peak_memory_stats()
        self.tokens.append(int(batch["attention_mask"].sum()))

    def step(self) -> None:
        """Note that a step has ended."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    @property
    def tokens_per_second(self) -> float:
        """Real tokens per second."""
        steps = slice(WARM_UP, len(self.ends))
        return sum(self.tokens[steps]) / (self.ends[-1] - self.ends[WARM_UP - 1])


def peaks() -> dict[str, float]:
    """Return the peaks of memory since they were last reset: what tensors took, and what torch had reserved for them.

    The card has to have the latter, and some hundred MiB for CUDA itself.
    """
    return {
        "allocated_gib": round(torch.cuda.max_memory_allocated() / GIB, 2),
        "reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
    }


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


TRAININGS: Mapping[str, Callable[[Workload, Path, Meter], None]] = dict(zip(SYSTEMS, (ours, peer), strict=True))


def conditions(device: str) -> dict[str, Any]:
    """Return what belongs to the figures: commit, device and versions."""
    name = torch.cuda.get_device_name() if device == "cuda" else device
    versions = {package: version(package) for package in PACKAGES}
    return {"commit": commit() or "unknown", "device": name, "versions": versions}


def measure(system: str, work: Workload, folder: Path, device: torch.device) -> dict[str, Any]:
    """Train and return speed and, on a GPU, peak memory while loading, while training, and the larger of both."""
    release()
    meter = Meter(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the libraries advise is not what is measured
        TRAININGS[system](work, folder, meter)
    speed = {"tokens_per_second": round(meter.tokens_per_second, 1)}
    if device.type != "cuda":
        return speed
    training = peaks()
    larger = max(meter.loading["reserved_gib"], training["reserved_gib"])
    return {**speed, "loading": meter.loading, "training": training, PEAK: larger}


def attempt(system: str, work: Workload, folder: Path, device: torch.device) -> dict[str, Any]:
    """Return what `measure` does, or why it failed, which must not cost the results of the other system."""
    try:
        return measure(system, work, folder, device)
    except Exception as error:
        traceback.print_exc()
        reason = " ".join(str(error).split())
        out_of_memory = isinstance(error, torch.OutOfMemoryError) or "out of memory" in reason
        return {"failed": "out of memory" if out_of_memory else f"{type(error).__name__}: {reason[:160]}"}


def compare(
    folder: Path, device: str, *, steps: int, tokens: int, batch_size: int, quantize: str
) -> Iterator[dict[str, Any]]:
    """Train both systems on full batches and on texts as long as dialogues; yield what was found so far, each time."""
    compared: dict[str, Any] = {"quantize": quantize, "batch_size": batch_size, "tokens": tokens, "steps": steps}
    for lengths in LENGTHS:
        work = workload(folder, steps, tokens, batch_size, quantize, full=lengths == "full")
        result: dict[str, Any] = {}
        compared[lengths] = result
        for system in SYSTEMS:
            result[system] = attempt(system, work, folder, torch.device(device))
            speeds = [result.get(name, {}).get("tokens_per_second") for name in SYSTEMS]
            if None not in speeds:
                result[RATIO] = round(speeds[0] / speeds[1], 3)
            print(f"  {lengths}, {system}: {json.dumps(result[system])}", file=sys.stderr, flush=True)
            yield compared
