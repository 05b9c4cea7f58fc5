"""A plain loop that ends at any step, and comes to the same when it is taken up."""

import pytest
import torch
from torch import nn

from lrsl.nn.kept import Kept
from lrsl.nn.optimisation import adamw
from lrsl.nn.progress import Progress

ROWS, BATCH, EPOCHS = 7, 3, 2
X = torch.linspace(-1, 1, ROWS * 4).view(ROWS, 4)


def trained(place=None, steps=99):
    """Return the weights after so many steps of those that are left, and which rows they saw."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        optimizer, schedule = adamw(
            [{"params": list(network.parameters()), "lr": 0.1}], weight_decay=0.01, steps=6, warmup=0.1
        )
        kept = None if place is None else Kept(place, "view", minutes=0)
        parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
        seen = []
        for batch in Progress(kept, EPOCHS, ROWS, BATCH, parts).batches():
            if len(seen) == steps:
                break
            seen.append(batch.tolist())
            network(X[batch]).square().sum().backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if kept is not None:
                kept.wait()
        if kept is not None:
            kept.wait()
        return [value.clone() for value in network.state_dict().values()], seen


@pytest.mark.parametrize("steps", range(1, 7))
def test_it_goes_on_where_it_was(tmp_path, capsys, steps):
    whole, order = trained()
    assert [len(batch) for batch in order] == [3, 3, 1] * EPOCHS
    _, before = trained(tmp_path / "place", steps)
    assert capsys.readouterr().out == ""
    weights, after = trained(tmp_path / "place")
    assert before + after == order
    assert all(torch.equal(one, other) for one, other in zip(whole, weights, strict=True))
    epoch, within = divmod(steps, 3)
    place = f"step {within} of epoch {epoch + 1}" if within else f"the end of epoch {epoch}"
    assert capsys.readouterr().out == f"continuing view after {place} of {EPOCHS}\n"
