"""Completion of `lrsl` in a shell: commands, and the groups, choices and keys of a run.

eval "$(lrsl completion bash)"
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from lrsl.config import help, keys, own, place
from lrsl.errors import InputError

SHELLS = ("bash", "zsh", "fish")
WORDS = "words"
"""What the scripts ask for: `lrsl completion words COMMAND WORD...` prints what the last word may become."""

COMPOSED = ("run", "card", "label-texts")
"""The commands that take the groups and the keys of a run."""

ANSWERING = ("fit", "rerank", "predict", "explain", "serve")
"""The commands that take files and words of one's own."""

FLAGS = {
    "run": ("--cfg", "--config-dir", "--help", "--hydra-help", "--multirun", "--package", "--resolve", "-m"),
    "card": ("--config-dir", "--help"),
    "label-texts": ("--compare", "--config-dir", "--help"),
    "fit": (
        *("--columns", "--coverage", "--deploy", "--detector", "--embedding", "--fusion", "--help", "--k"),
        *("--label-texts", "--labels", "--logits", "--logits-key", "--names", "--on-hard", "--out", "--power"),
        *("--quoting", "--rule", "--text-key", "--texts", "--threshold", "--train", "--train-logits", "--views"),
    ),
    "rerank": (
        *("--at-once", "--backend", "--help", "--k", "--logits", "--logits-key", "--out", "--quiet", "--quoting"),
        *("--text-key", "--texts"),
    ),
    "serve": (
        *("--backend", "--batch-rows", "--help", "--host", "--max-mb", "--max-rows", "--port", "--queue-rows"),
        *("--timeout", "--wait-ms"),
    ),
    "predict": ("--at-once", "--column", "--help", "--k", "--out", "--quiet", "--quoting", "--text-key"),
    "explain": ("--help", "--k", "--neighbours"),
    "store": ("--dir", "--help", "list", "prune"),
    "completion": ("--help", *SHELLS),
}

CHOICES = {
    "--backend": ("onnx", "onnx-int8", "torch"),
    "--columns": ("checked", "trusted"),
    "--deploy": ("always", "auto"),
    "--on-hard": ("abstain", "rerank", "set"),
    "--quoting": ("checked", "none", "trusted"),
    "--rule": ("fitted", "paper"),
}
"""What may follow a flag of these; what follows any other is a file or a word of one's own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a shell's script, or what a word may become, and return the exit status."""
    if arguments and arguments[0] == WORDS:
        print("\n".join(words(arguments[1:])))
        return 0
    parser = argparse.ArgumentParser(
        prog=place.typed("completion"),
        description="Print a script that completes lrsl: its commands, and the groups, choices and keys of a run.",
        epilog='Example, to have it always: eval "$(lrsl completion bash)" in ~/.bashrc; eval "$(lrsl completion zsh)" '
        "in ~/.zshrc, below compinit; lrsl completion fish | source in ~/.config/fish/config.fish.",
    )
    parser.add_argument("shell", choices=SHELLS, help="your shell")
    print({"bash": BASH, "zsh": ZSH, "fish": FISH}[parser.parse_args(arguments).shell], end="")
    return 0


def words(typed: Sequence[str]) -> list[str]:
    """Return what the last word may become, in alphabetical order; one that ends with `=` goes on.

    Args:
        typed: the words after `lrsl`; the last one is being typed, and may be empty.
    """
    from lrsl.commands.main import COMMANDS, HELP  # noqa: PLC0415  (which loads this when it is asked for)

    *before, word = typed or [""]
    if not before:
        candidates = [*COMMANDS, HELP[1], "--version"]
    elif before[0] in ANSWERING:
        candidates = list(FLAGS[before[0]] if word.startswith("-") else CHOICES.get(before[-1], ()))
    elif before[0] not in COMPOSED:
        chosen = len(before) > 1 and before[0] in ("store", "completion")
        candidates = [] if chosen else list(FLAGS.get(before[0], HELP[1:]))
    elif word.startswith("-"):
        candidates = list(FLAGS[before[0]])
    elif before[-1] == "--cfg":
        candidates = ["all", "hydra", "job"]
    elif before[-1] in own.FLAGS:
        candidates = []
    else:
        candidates = _overrides(before, word)
    return sorted(candidate for candidate in candidates if candidate.startswith(word))


def _overrides(before: Sequence[str], word: str) -> list[str]:
    try:
        _, folders = own.take(before)
    except InputError:
        folders = []
    choices = help.choices(folders)
    key, equals, value = word.partition("=")
    if not equals:
        known = [name for name in keys.known_keys() if name not in choices]
        return [f"{name}=" for name in (*choices, *known)]
    done = value.rpartition(",")[0]
    taken = value.split(",")[:-1]
    left = [choice for choice in choices.get(key, keys.values(key)) if choice not in taken]
    return [f"{key}={done},{choice}" if done else f"{key}={choice}" for choice in left]


BASH = r"""# Completion of lrsl in bash: eval "$(lrsl completion bash)"
_lrsl() {
    local line=${COMP_LINE:0:COMP_POINT} words word kept
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[${#words[@]}-1]}
    local IFS=$'\n'
    COMPREPLY=($("${words[0]}" completion words "${words[@]:1}" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
    if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then  # bash takes what follows = for a word of its own
        kept=${word%"${word##*=}"}
        COMPREPLY=("${COMPREPLY[@]#"$kept"}")
    fi
}
complete -o default -F _lrsl lrsl
"""

ZSH = r"""#compdef lrsl
# Completion of lrsl in zsh: eval "$(lrsl completion zsh)"
_lrsl() {
    local -a found
    found=("${(@f)$(${words[1]} completion words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -z ${found[1]} ]]; then
        compset -P '*='  # of KEY=FILE, the file
        _files
        return
    fi
    compadd -Q -S '' -- ${(M)found:#*=}
    compadd -Q -- ${found:#*=}
}
compdef _lrsl lrsl
"""

FISH = r"""# Completion of lrsl in fish: lrsl completion fish | source
function __lrsl_words
    set -l typed (commandline -opc) (commandline -ct)
    $typed[1] completion words $typed[2..-1] 2>/dev/null
end
complete -c lrsl -a '(__lrsl_words)'
"""
