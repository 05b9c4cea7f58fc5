import pytest

from lrsl.commands.processes import Place, computing, dismiss, first_node, found, prepare
from lrsl.config.schema import Config, ModelConfig, TrainerConfig
from lrsl.errors import InputError

TORCHRUN = {
    **{"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"},
    **{"MASTER_ADDR": "gpu03", "MASTER_PORT": "29500"},
}
SRUN = {
    **{"SLURM_JOB_ID": "40123", "SLURM_STEP_ID": "2", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"},
    **{"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "gpu[03-04]"},
}


def config(**trainer):
    return Config(model=ModelConfig(name="x", pretrained="x"), trainer=TrainerConfig(accelerator="cpu", **trainer))


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    """An environment in which nobody has started any process."""
    for name in (*TORCHRUN, *SRUN, "TORCHELASTIC_USE_AGENT_STORE", "SLURM_NODELIST", "LRSL_SWEEP"):
        monkeypatch.delenv(name, raising=False)
    yield
    dismiss(0)


def test_processes_of_torchrun_are_found():
    assert found(TORCHRUN) == Place(5, 8, 1, 4, "gpu03", 29500)
    assert found({**TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE": "True"}) == Place(5, 8, 1, 4, "gpu03", 29500, hosted=True)


def test_processes_of_srun_are_found():
    assert found(SRUN) == Place(5, 8, 1, 4, "gpu03", 15_000 + 40125 % 20_000)
    given = found({**SRUN, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"})
    assert (given.address, given.port) == ("10.0.0.1", 1234)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"},  # a batch script, before any srun
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1"},  # as submitit starts a job
        {**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"},
    ],
)
def test_one_process_is_not_several(environ):
    assert found(environ) is None


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        *[("gpu03", "gpu03"), ("gpu03,gpu04", "gpu03"), ("gpu[03-05,9],login", "gpu03"), ("a1,b[2-3]", "a1")],
        *[("rack[7,9]-ib", "rack7-ib"), ("127.0.0.1", "127.0.0.1")],
    ],
)
def test_the_first_machine_of_a_list(nodes, first):
    assert first_node(nodes) == first


def test_machines_where_nobody_has_started_anything_are_refused():
    with pytest.raises(InputError, match=r"trainer.num_nodes=2 needs .* srun --ntasks-per-node=4 or torchrun"):
        prepare(config(devices=4, num_nodes=2))


def test_another_number_of_processes_than_the_run_needs_is_refused(monkeypatch):
    for name, value in {**TORCHRUN, "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"set trainer.devices=4 trainer.num_nodes=2"):
        prepare(config(devices=2))
    monkeypatch.setenv("LRSL_SWEEP", "")
    with pytest.raises(InputError, match="set launcher=basic"):
        prepare(config(devices=4, num_nodes=2))


def test_only_language_models_are_sharded():
    with pytest.raises(InputError, match=r"set trainer.strategy=ddp"):
        prepare(config(devices=2, strategy="fsdp"))


def test_one_process_starts_no_other(tmp_path):
    prepare(config())
    with computing(config(), {}, tmp_path, pytest.fail):
        pass
