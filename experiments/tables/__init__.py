"""The paper's Tables 1 to 8, with what our runs came to beside its numbers: python -m experiments.tables."""
