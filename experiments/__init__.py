"""Studies of the paper, from what runs left behind; nothing here trains."""
