"""What a run may change of its process without meaning to, and the next job of a sweep would inherit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch

from lrsl import files


@contextmanager
def restored() -> Iterator[None]:
    """Put back, however what is inside ends, what decides how torch and numpy compute and where files are made.

    That is torch's default dtype and device, gradients, deterministic algorithms, precision of products and threads;
    numpy's treatment of floating-point errors; the working directory and the umask.
    """
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    grad, threads, products = torch.is_grad_enabled(), torch.get_num_threads(), torch.get_float32_matmul_precision()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    anomalies, errors = torch.is_anomaly_enabled(), np.geterr()
    folder, umask = os.getcwd(), files.umask()  # noqa: PTH109  (as it is, links included)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
        torch.set_grad_enabled(grad)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(products)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        torch.autograd.set_detect_anomaly(anomalies)
        np.seterr(**errors)
        os.umask(umask)
        with suppress(OSError):
            os.chdir(folder)
