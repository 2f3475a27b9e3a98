"""Words of engines that have run out of memory, and what is asked for the next time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import RAM, Bytes, gib
from supervisor.core.retry import FIRST, LONGEST, MORE, Shortage, at_least, more, pause, shortage
from supervisor.core.snapshot import Demand, Share, Source
from tests.builders import GPU, OTHER, ref, share

WORDS = [
    # llama.cpp
    ("ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4560.87 MiB on device 0: cudaMalloc"
     " failed: out of memory", Shortage.DEVICE),
    ("alloc_tensor_range: failed to allocate CUDA0 buffer of size 4782421248", Shortage.DEVICE),
    ("llama_model_load: error loading model: unable to allocate CUDA0 buffer", Shortage.DEVICE),
    ("ggml_vulkan: Device memory allocation of size 2147483648 failed.", Shortage.DEVICE),
    ("ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory", Shortage.DEVICE),
    ("llama_init_from_model: failed to initialize the context: failed to allocate compute pp"
     " buffers", Shortage.SOMEWHERE),
    ("llama_kv_cache_init: failed to allocate buffer for kv cache", Shortage.SOMEWHERE),
    ("ggml_aligned_malloc: insufficient memory (attempted to allocate 6144.00 MB)", Shortage.HOST),
    ("ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 4294967296",
     Shortage.SOMEWHERE),
    # PyTorch
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total"
     " capacity of 23.65 GiB of which 1.20 GiB is free.", Shortage.DEVICE),
    ("torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB.", Shortage.DEVICE),
    ("RuntimeError: MPS backend out of memory (MPS allocated: 9.05 GB)", Shortage.DEVICE),
    ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
     Shortage.DEVICE),
    ("RuntimeError: [enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate"
     " memory: you tried to allocate 8589934592 bytes.", Shortage.HOST),
    # vLLM, SGLang, Ollama
    ("ValueError: No available memory for the cache blocks. Try increasing"
     " `gpu_memory_utilization` when initializing the engine.", Shortage.DEVICE),
    ("ValueError: Free memory on device (3.1/23.65 GiB) on startup is less than desired GPU memory"
     " utilization (0.9, 21.29 GiB).", Shortage.DEVICE),
    ("RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
     Shortage.DEVICE),
    ("model requires more system memory (12.4 GiB) than is available (7.1 GiB)", Shortage.HOST),
    ("llama runner process has terminated: out of memory", Shortage.SOMEWHERE),
    ("llama runner process has terminated: signal: killed", Shortage.HOST),
    # Ours, and the kernel's
    ("was killed: it took more than its memory_limit of 8GiB", Shortage.HOST),
    ("was killed by the kernel for want of memory", Shortage.HOST),
    ("terminate called after throwing an instance of 'std::bad_alloc'", Shortage.HOST),
    ("mmap failed: Cannot allocate memory", Shortage.HOST),
]  # fmt: skip
OTHER_WORDS = [
    "the engine began to load it and gave up",
    "ended with exit code 1 (error: unknown argument: --ctx)",
    "llama_model_load: error loading model: unknown model architecture: 'odd'",
    "not loaded within 600 s",
    "POST /models/load: model limit reached, try again later",
    "load_tensors:          CPU model buffer size =    92.10 MiB",
    "ggml_cuda_init: found 1 CUDA devices, 24268 MiB of memory",
    "was ended by SIGKILL",
    "model 'out-of-distribution' not found",
    "memory is fine",
]


@pytest.mark.parametrize(("words", "where"), WORDS)
def test_what_engines_say_when_memory_is_missing_is_understood(words: str, where: Shortage) -> None:
    assert shortage(words) is where


@pytest.mark.parametrize("words", OTHER_WORDS)
def test_other_failures_are_not_taken_for_a_want_of_memory(words: str) -> None:
    assert shortage(words) is None


def test_the_pause_doubles_up_to_five_minutes() -> None:
    assert [pause(n) for n in range(1, 8)] == [10, 20, 40, 80, 160, 300, 300]
    assert (pause(1), pause(10**6)) == (FIRST, LONGEST)


BOTH = (share(8), share(2, RAM))


@pytest.mark.parametrize(
    ("where", "sizes"),
    [
        (Shortage.DEVICE, (10, 2)),
        (Shortage.HOST, (8, 2.5)),
        (Shortage.SOMEWHERE, (10, 2.5)),
    ],
)
def test_more_is_asked_of_what_was_missing(where: Shortage, sizes: tuple[float, float]) -> None:
    assert [s.size for s in more(BOTH, where)] == [gib(n) for n in sizes]


def test_where_it_is_wanted_in_one_place_alone_that_is_where_it_was_missing() -> None:
    assert more((share(8),), Shortage.HOST) == (share(10),)
    assert more((share(8, RAM),), Shortage.DEVICE) == (share(10, RAM),)


def test_the_next_demand_is_no_smaller_and_may_be_larger() -> None:
    tried = more((share(8),), Shortage.DEVICE)
    asked = at_least(Demand((share(8), share(1, RAM)), ref("a")), tried)
    assert asked.shares == (Share(GPU, gib(10), Source.LEARNED), share(1, RAM))
    assert at_least(Demand((share(12),), ref("a")), tried).shares == (share(12),)


def test_what_was_tried_on_another_device_says_nothing() -> None:
    elsewhere = Demand((share(8, OTHER),), ref("a"))
    assert at_least(elsewhere, (share(10),)) == elsewhere


shares = st.lists(
    st.builds(Share, st.sampled_from([GPU, OTHER, RAM]), st.integers(0, 10**12).map(Bytes)),
    min_size=1,
    max_size=3,
    unique_by=lambda s: s.pool,
).map(tuple)


@given(shares, st.sampled_from(list(Shortage)))
def test_something_grows_by_a_quarter_and_nothing_shrinks(
    before: tuple[Share, ...], where: Shortage
) -> None:
    after = more(before, where)
    assert [s.pool for s in after] == [s.pool for s in before]
    grown = [a.size for a, b in zip(after, before, strict=True) if a.size == int(b.size * MORE)]
    assert grown
    assert all(a.size >= b.size for a, b in zip(after, before, strict=True))


@given(st.text())
def test_any_text_can_be_asked(text: str) -> None:
    assert shortage(text) in (None, *Shortage)
