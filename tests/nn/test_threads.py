import math
import os
import subprocess
import sys

import pytest

from lrsl.nn.threads import SPINS, cores, quota, variables

WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": str(SPINS)}


def test_threads_spin_only_for_a_while():
    assert variables({}, cores=8, quota=math.inf) == WAITING


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"])
def test_how_a_user_lets_threads_wait_goes_before(name):
    assert variables({name: "1"}, cores=8, quota=math.inf) == {}


@pytest.mark.parametrize(("granted", "threads"), [(0.5, "1"), (1.0, "1"), (1.5, "2"), (4.0, "4")])
def test_no_more_threads_than_a_container_grants(granted, threads):
    assert variables({}, cores=8, quota=granted) == {**WAITING, "OMP_NUM_THREADS": threads}


@pytest.mark.parametrize("granted", [8.0, 12.0, math.inf])
def test_torch_counts_the_cores_where_they_are_the_limit(granted):
    assert "OMP_NUM_THREADS" not in variables({}, cores=8, quota=granted)


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_of_threads_that_a_user_gives_goes_before(name):
    assert variables({name: "8"}, cores=8, quota=2.0) == WAITING


@pytest.mark.parametrize(
    ("files", "granted"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({}, math.inf),
    ],
)
def test_quota_of_either_version(tmp_path, files, granted):
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    assert quota(tmp_path) == granted


def test_cores_are_those_this_process_may_use():
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("given", "found"), [({}, f"{SPINS}"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_set_before_torch_is_loaded(given, found):
    code = (
        "import os, sys; from lrsl.nn import threads; threads.prepare(); "
        "print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    )
    environment = {name: value for name, value in os.environ.items() if name not in WAITING} | given
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", found]
