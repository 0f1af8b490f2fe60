"""Which errors of an engine are the device's, so that the engine is kept."""

from __future__ import annotations

import pytest

from sam2_core.backends.engines import blames_device


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 7.43 GiB",
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
        "[executionContext.cpp::ExecutionContext::470] Error Code 2: OutOfMemory (no further information)",
        "CUDA initialization failure with error: 2",
    ],
)
def test_what_the_device_is_to_blame_for(message: str) -> None:
    assert blames_device(message)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: operation not permitted when stream is capturing",
        "Error Code 1: Cuda Runtime (operation would make the legacy stream depend on a capturing stream)",
        "Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[/conv]}.)",
        "Error Code 1: Serialization (Serialization assertion stdVersionRead == expected failed.)",
        "it has ['image'] where ['pixels'] is needed",
    ],
)
def test_what_the_engine_is_to_blame_for(message: str) -> None:
    assert not blames_device(message)
