"""How long things take, as ratios against something run in the same process."""
