import pytest
import torch
from torch import nn

from lrsl.nn.optimisation import adamw, trainable


def test_the_rate_rises_over_the_warm_up_and_falls_to_zero():
    one, other = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    groups = [{"params": [one], "lr": 0.1}, {"params": [other], "lr": 1.0}]
    optimizer, schedule = adamw(groups, weight_decay=0.25, steps=12, warmup=0.34)  # 4 steps up, 8 down
    rates = []
    for _ in range(12):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    shape = [0, 0.25, 0.5, 0.75, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert [rate[0] for rate in rates] == pytest.approx([0.1 * factor for factor in shape])
    assert [rate[1] for rate in rates] == pytest.approx(shape)
    assert [group["lr"] for group in optimizer.param_groups] == [0, 0]
    assert all(group["weight_decay"] == 0.25 for group in optimizer.param_groups)


def test_frozen_parameters_are_not_trained():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad = False
    assert [id(parameter) for parameter in trainable(layer.parameters())] == [id(layer.weight)]
