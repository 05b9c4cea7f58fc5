"""A process that has imported the libraries of a run, and becomes each command that a line of its input asks for.

A fork of it starts in milliseconds where a new interpreter takes ten seconds. Nothing of lrsl is imported before the
fork, so that a command finds the copy that its own PYTHONPATH and folder name. Nor is wandb, whose folder for temporary
files goes with the first process that ends.
"""

import gc
import importlib
import json
import os
import runpy
import sys
import threading
import time
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("torch", "transformers", "sentence_transformers", "pytorch_lightning", "torchmetrics", "peft", "bitsandbytes"),
    *("hydra.main", "hydra._internal.hydra", "scipy.stats", "jinja2"),
    *("matplotlib.figure", "matplotlib.backends.backend_svg", "pydoc_data.topics"),
    *("transformers.models.bert.modeling_bert", "transformers.models.roberta.modeling_roberta"),
)


def become(asked: dict[str, Any]) -> None:
    """Run the words after `python` as a new interpreter would, to the end of this process."""
    for descriptor, (name, flags) in enumerate(
        ((os.devnull, os.O_RDONLY), (asked["stdout"], os.O_WRONLY), (asked["stderr"], os.O_WRONLY))
    ):
        opened = os.open(name, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.path[:0] = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    start, *arguments = asked["words"]
    if start == "-m":
        name, *arguments = arguments
        sys.path.insert(0, asked["cwd"])
        sys.argv = ["-m", *arguments]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    elif start == "-c":
        program, *arguments = arguments
        sys.path.insert(0, "")
        sys.argv = ["-c", *arguments]
        exec(compile(program, "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.path.insert(0, str(Path(start).resolve().parent))
        sys.argv = [start, *arguments]
        runpy.run_path(start, run_name="__main__")


def end_of(process: int, asked: dict[str, Any]) -> int:
    """Wait for the end of a fork, and return its status; on the way send it a signal, if one is asked for.

    It is sent after a number of seconds, or when its output holds a text.
    """
    if asked["stop"] is None:
        return os.waitpid(process, 0)[1]
    number, when = asked["stop"]
    began = time.monotonic()
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() - began >= when if isinstance(when, float) else when in Path(asked["stdout"]).read_text():
            os.kill(process, number)
            return os.waitpid(process, 0)[1]
        time.sleep(0.01)


def main() -> None:
    """Answer each line with how the command it asks for ended; in the fork, return to run it."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [entry for entry in sys.path[1:] if entry not in given]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in LIBRARIES:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a thread of its own would be missing in the forks"
    gc.collect()
    gc.freeze()
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        process = os.fork()
        if not process:
            answers.close()
            become(asked)
            return
        status = end_of(process, asked)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == "__main__":
    main()
