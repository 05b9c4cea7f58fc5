"""Programs that several processes run, forked from one that has imported the libraries already."""

import socket

FORKED = """
import os, sys
size, port, module = int(sys.argv[1]), sys.argv[2], sys.argv[3]
rank, others = 0, []
for other in range(1, size):
    child = os.fork()
    if not child:
        rank, others = other, []
        break
    others.append(child)
os.environ.update(
    RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1",
    MASTER_PORT=port,
)
sys.argv = ["lrsl", *sys.argv[4:]]
import importlib
status = importlib.import_module(module).main(sys.argv[1:])
sys.stdout.flush()
for child in others:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status, "a process ended otherwise"
os._exit(status) if rank else sys.exit(status)
"""
"""Runs `main` of a module in processes like those of `torchrun`: how many, a port, the module, and what is typed."""


def forked(processes: int, module: str) -> list[str]:
    """Return what to type before the arguments of a module's `main`, to run it in so many processes."""
    return ["-c", FORKED, str(processes), str(free_port()), module]


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
