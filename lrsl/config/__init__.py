"""Every key of a run, how Hydra's composition meets the schema, and what a mistake in it means."""
