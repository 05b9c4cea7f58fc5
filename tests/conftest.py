"""What every test relies on: types and shapes of the core are checked at run time, and nothing reaches a network."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import typed
from jaxtyping import install_import_hook

# Set before anything imports the libraries that read them, and inherited by the runs that tests start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small only wait for a second thread
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_ERROR_REPORTING"] = "false"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of shells that start this in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.pop("LRSL_CACHE_DIR", None)  # tests make what they test

# From here on a tensor of the wrong shape or type is a jaxtyping.TypeCheckError, in whichever test it turns up.
install_import_hook("lrsl.core", "beartype.beartype")

# The same examples on every run, and no time limit per example on a busy machine.
hypothesis.settings.register_profile("lrsl", deadline=None, max_examples=50, derandomize=True, database=None)
hypothesis.settings.load_profile("lrsl")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of local copies of the public data sets; tests that need it are skipped where there is none."""
    folder = os.environ.get("LRSL_DATA_DIR")
    if not folder:
        pytest.skip("LRSL_DATA_DIR names no folder of local data sets")
    if not Path(folder).is_dir():
        pytest.fail(f"LRSL_DATA_DIR={folder} is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def warm() -> Iterator[typed.Typed]:
    """A function that types a command without waiting for imports; see `typed`."""
    with typed.warm() as run:
        yield run


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `train.csv` and `test.csv` of four labels."""
    import tiny

    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT of two layers and its tokenizer."""
    import tiny

    return tiny.write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a RoBERTa of two layers and its tokenizer."""
    import tiny

    return tiny.write_roberta(tmp_path_factory.mktemp("roberta"))


def pytest_collection_finish() -> None:
    """Spare collections of garbage the modules and what else is there to stay."""
    gc.collect()
    gc.freeze()


RUNS = (  # files and folders whose tests train something or type whole commands
    *("classifiers/", "commands/", "embedding/test_label_ranking", "experiments/test_", "plugin/", "run/", "serving/"),
    *("sweep/", "training/", "test_benchmarks", "test_docs", "test_end_to_end", "test_examples", "test_matrix"),
    *("test_qlora_benchmark", "test_readme", "test_run", "test_tensorboard", "test_tracking", "test_wheel"),
)
FAULTS = ("sweep/test_launchers", "faults/")
SLOW = (  # beginnings of the tests that take half of the time; `make test` leaves them out, `.ci/run` does not
    "faults/test_resuming_runs.py::test_random_kills",
    "faults/test_resuming_together",
    "faults/test_several_processes",
    "faults/test_output_folder.py::test_the_same_sweep_twice",
    "faults/test_signals.py::test_what_was_stopped_within_an_epoch",
    "faults/test_sharded.py::test_a_sharded",
    "test_readme.py::test_replays_come_to",
    "plugin/test_sklearn.py::test_it_is_searched",
    "plugin/test_sklearn.py::test_scikit_learns_checks",
    "faults/test_credentials.py::test_whole_commands",
    "commands/test_predict_and_explain.py::test_the_demo_as_it_is_typed",
    "run/test_out_of_fold",
    "run/test_reopened.py::test_every_kind",
    "run/test_seams_in_runs",
    "run/test_stages",
    "serving/test_serving.py::test_a_minute_of_load",
    "sweep/test_launchers",
    "faults/test_disks.py::test_a_disk_that_is_full",
    "faults/test_disks.py::test_a_store_that_is_mounted",
    "faults/test_disks.py::test_a_full_folder",
    "faults/test_disks.py::test_finished_results",
    "faults/test_counts_of_threads.py::test_launchers",
    "faults/test_tracking_faults.py::test_history_so_far",
    "test_benchmarks",
    "test_docs.py::test_the_tutorials",
    "test_docs_of_classifiers.py::test_scikit_learn",
    "test_examples.py::test_an_example_runs[tfidf",
    "test_examples.py::test_an_example_of_big_data_gives_the_rerankers_answers[rerank_ray",
    "test_matrix.py::test_the_command_of_five_seeds_as_typed",
    "test_wheel",
    "experiments/test_figures.py::test_every_figure_is_written_twice_the_same",
    "experiments/test_tuning.py::test_a_trial_reports_the_objective_to_its_agent",
    "test_run.py::test_an_experiment_brings_its_own_sweep",
    "test_run.py::test_what_does_not_apply",
    "test_run.py::test_a_summary_is_logged",
    "test_run.py::test_a_sweep_over_finished_runs",
    "test_run.py::test_several_configurations",
    "test_run.py::test_a_report_that_fails",
    "test_run.py::test_torch_is_not_loaded_before_there_is_something_to_do[arguments3",
    "test_run.py::test_a_value_that_cannot_be_composed_does_not_keep_the_others_from_running[nope",
    "test_run.py::test_a_sweep_goes_on_where_it_stopped",
    "test_run.py::test_what_is_typed_replaces",
    "test_run.py::test_memory_does_not_grow",
    "test_run.py::test_without_what_draws_a_report",
    "test_run.py::test_keys_may_stand_behind_the_flag[--multirun",
    "experiments/test_report.py::test_confused_pairs",
    "experiments/test_tables.py::test_the_recorded_tables",
    "experiments/test_tables.py::test_studies_do_not_load_torch",
    "experiments/test_tables.py::test_the_command_writes",
    "experiments/test_tables.py::test_a_truncated_result",
    "experiments/test_tables.py::test_data_sets_that_cannot_be_read",
    "experiments/test_record.py::test_significance_over_seeds",
    "commands/test_fit_and_rerank.py::test_what_is_killed_is_taken_up_to_the_same_bytes[jsonl",
    "commands/test_fit_and_rerank.py::test_what_is_killed_is_taken_up_to_the_same_bytes[parquet",
    "commands/test_main.py::test_every_command_has_help[re",
    "commands/test_main.py::test_every_command_has_help[figures",
    "commands/test_main.py::test_a_users_own_choices",
    "commands/test_label_texts_command.py::test_an_interrupted_command",
    "commands/test_label_texts_command.py::test_running_out_of_memory",
    "commands/test_label_texts_command.py::test_what_is_asked_comes_from_train",
    "classifiers/test_llm.py::test_a_whole_run",
    "classifiers/test_llm.py::test_a_checkpoint_and_an_export_give_the_logits_back[mistral",
    "classifiers/test_pretrained_kinds.py::test_a_run_with_such_a_network_on_both_sides[m",
    "classifiers/test_pretrained_kinds.py::test_a_run_with_such_a_network_on_both_sides[t",
    "config/test_conf.py::test_every_key_that_can_change_a_result",
    "config/test_conf.py::test_a_study_in_full",
    "faults/test_output_folder.py::test_what_a_job_changes",
    "faults/test_output_folder.py::test_figures_of_another_configuration",
    "commands/test_serve.py::test_open_connections",
    "config/test_hydra_settings.py::test_a_command_ends",
    "data/test_card.py::test_cards_of_real_data",
    "faults/test_disks.py::test_a_folder_with_a_name_too_long_for_a_disk_is_a_short_sentence[name0",
    "faults/test_disks.py::test_a_folder_with_a_name_too_long_for_a_disk_is_a_short_sentence[name2",
    "faults/test_paths.py::test_no_command_shows_a_traceback_for_a_path_that_is_none[name2",
    "faults/test_paths.py::test_no_command_shows_a_traceback_for_a_path_that_is_none[name0",
    "faults/test_paths.py::test_a_path_that_none_can_be",
    "faults/test_two_processes",
    "run/test_artifacts",
    "run/test_reopened.py::test_an_embedding_off_the_shelf",
    "run/test_reopened.py::test_weights_that_have_moved",
    "run/test_reopened.py::test_what_is_deployed_is_respected[rerank",
    "run/test_reopened.py::test_what_is_deployed_is_respected[fitted",
    "run/test_reopened.py::test_what_views_have_learnt",
    "run/test_runs_on_hard.py::test_abstaining",
    "run/test_runs_on_hard.py::test_sets_are_measured",
    "serving/test_refusals.py::test_a_slow_body",
    "serving/test_refusals.py::test_who_does_not_take",
    "serving/test_serving.py::test_a_model_that_hangs",
    "test_docs_of_helping.py::test_to_a_served",
    "test_end_to_end.py::test_what_is_finished_is_taken",
    "test_matrix.py::test_a_cell[mistral",
    "test_matrix.py::test_a_cell[roberta",
    "test_matrix.py::test_a_cell[llama2-i",
    "test_matrix.py::test_a_cell[llama2-t",
    "test_matrix.py::test_a_cell[llama2-c",
    "test_matrix.py::test_a_cell[bert-i",
    "test_matrix.py::test_a_cell[bert-t",
    "test_matrix.py::test_a_cell[bert-c",
    "test_matrix.py::test_a_cell[convbert-i",
    "test_matrix.py::test_a_cell[convbert-t",
    "test_matrix.py::test_a_cell[aphan-i",
    "test_matrix.py::test_a_cell_without_four_bits",
    "test_matrix.py::test_real_texts",
    "training/test_resuming.py::test_it_comes_to_the_same",
    "commands/test_replay.py::test_verdicts_are_held",
    "config/test_conf.py::test_a_power_is_a_number",
    "config/test_conf.py::test_the_ablations",
    "config/test_conf.py::test_what_an_experiment_sweeps_can_be_composed[experiment=t",
    "config/test_conf.py::test_what_an_experiment_sweeps_can_be_composed[experiment=l",
    "config/test_conf.py::test_what_an_experiment_sweeps_can_be_composed[experiment=w",
    "config/test_conf.py::test_what_an_experiment_sweeps_can_be_composed[experiment=d",
    "embedding/test_inputs.py::test_the_settings_of_an_embedder_hold",
    "embedding/test_inputs.py::test_the_vectors_of_any_network",
    "experiments/test_report.py::test_a_large_sweep",
    "experiments/test_report.py::test_suspect_labels_are",
    "experiments/test_report.py::test_without_folds",
    "faults/test_hostile_folders.py::test_what_is_no_path",
    "faults/test_hostile_targets.py::test_what_is_no_name_is_a_sentence[name6",
    "faults/test_output_folder.py::test_the_same_command_twice",
)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test its tier, by what it asks for or by the file it stands in, and mark it where it is slow."""
    file = item.path.relative_to(Path(__file__).parent).as_posix()
    if f"{file}::{item.name}".startswith(SLOW):
        item.add_marker("slow")
    fixtures = getattr(item, "fixturenames", ())
    if item.name.startswith("test_in_a_browser"):
        item.add_marker("browser")
    elif "data_dir" in fixtures:
        item.add_marker("realdata")
    elif file.startswith(FAULTS):
        item.add_marker("faults")
    elif file.startswith(RUNS):
        item.add_marker("run")
    else:
        item.add_marker("unit")
