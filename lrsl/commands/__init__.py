"""What people type besides a run: one file per command."""
