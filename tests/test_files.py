"""Files as others find them: the permissions of what libraries write."""

import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lrsl import files


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_what_a_library_wrote_for_its_owner_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    script = tmp_path / "script.sh"
    script.touch()
    script.chmod(0o700)
    before = os.umask(umask)
    try:
        files.share(tmp_path)
        assert files.umask() == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == mode
    assert stat.S_IMODE(script.stat().st_mode) == 0o700
