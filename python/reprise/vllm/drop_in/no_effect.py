"""Variables of older deployments that do nothing inside vLLM, and why: each that is set is named in the log."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

PREFIX = "AIBRIX_KV_CACHE_OL_"
_S3FIFO = "the core's S3FIFO has fixed parameters"
_META = "there is no clustered backend in this version"
_RDMA = "there is no RDMA transport in this version"
_BACKEND = "there is no {} backend in this version"
_TYPE3 = "there is no Type3 connector of its own any more"
_TIMES = "vLLM's /metrics and the log have the times"

# Names without the prefix.
_WHY = {
    "CHUNK_SIZE": "prompts are asked for as a whole",
    "MAX_SEQ_LEN": "prompts are stored as long as they are",
    "TOKEN_VALIDATION_ENABLED": "a block's key is a SHA-256 hash of its tokens and of all before them",
    "GROUP_TIMEOUT_S": "the ranks need not agree: the scheduler asks for all of them",
    "BREAKDOWN_MEASUREMENT_ENABLED": _TIMES,
    "L1_CACHE_EVICT_SIZE": "exactly as many blocks are evicted as room is needed for",
    "L1_CACHE_PIN_MEMORY": "the memory of the cache is not page-locked",
    "DEVICE": "the cache keeps blocks in the memory of the CPU",
    "L1_CACHE_DEVICE": "the cache keeps blocks in the memory of the CPU",
    "S3FIFO_SMALL_TO_MAIN_PROMO_THRESHOLD": _S3FIFO,
    "S3FIFO_SMALL_FIFO_CAPACITY_RATIO": _S3FIFO,
    "L2_CACHE_KEY_BUILDER": "keys are made of vLLM's own block hashes",
    "L2_CACHE_OP_BATCH": "a call is one request, and the store cuts it as it likes",
    "L2_CACHE_COMPRESSION": "blocks are not compressed",
    "L2_CACHE_PLACEMENT_POLICY": _META,
    "DOUBLE_GET_THRESHOLD": "L2 is asked where fetching is faster than computing",
    "TRANSPORT_RDMA_ADDR_RANGE": _RDMA,
    "EIC_CONFIG_FILE": _BACKEND.format("EIC"),
    "MOCK_USE_RDMA": _RDMA,
    "MOCK_USE_GDR_PUT": _RDMA,
    "MOCK_USE_GDR_GET": _RDMA,
    "MOCK_USE_MPUT_MGET": "it always takes several blocks at once",
    "MOCK_USE_NOOP": "MOCK keeps what it is given",
}
_FAMILIES = {"META_SERVICE_": _META, "INFINISTORE_": _BACKEND.format("INFINISTORE"),
             "HPKV_": _BACKEND.format("HPKV"), "PRISKV_": _BACKEND.format("PRISKV"),
             "PRIS_": _BACKEND.format("PRISKV")}
_WHOLE = {
    "VLLM_AIBRIX_SYNC_GRANULARITY": "the ranks need not agree: the scheduler asks for all of them",
    "VLLM_AIBRIX_SIDE_CHANNEL_PORT": _TYPE3,
    "VLLM_AIBRIX_TYPE3_USE_LAYER_WISE_SAVE": _TYPE3,
}
# Those that drop_in.py reads.
_EFFECTIVE = {
    "L1_CACHE_ENABLED", "L1_CACHE_CAPACITY_GB", "L1_CACHE_EVICTION_POLICY", "L2_CACHE_BACKEND", "L2_CACHE_NAMESPACE",
    "L2_CACHE_INGESTION_TYPE", "L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS", "L2_CACHE_NUM_ASYNC_WORKERS",
    "L2_CACHE_PER_TOKEN_TIMEOUT_MS", "REPRISE_URL", "REPRISE_TOKEN_FILE", "SHFS_ROOT", "ROCKSDB_ROOT",
    "ROCKSDB_TTL_S", "ROCKSDB_WRITE_BUFFER_SIZE", "ROCKSDB_TARGET_FILE_SIZE_BASE",
    "ROCKSDB_MAX_WRITE_BUFFER_NUMBER", "ROCKSDB_MAX_TOTAL_WAL_SIZE", "ROCKSDB_MAX_BACKGROUND_JOBS", "MODEL",
    "FLUSH_TIMEOUT_S", "TIME_MEASUREMENT_ENABLED", "PROFILING_ENABLED", "PROFILING_SERVER_ADDRESS",
}
_BLOCKS = (PREFIX + "BLOCK_SIZE", "AIBRIX_LLM_KV_CACHE_CHUNK_SIZE")


def idle(environment: Mapping[str, str], block_tokens: int) -> list[str]:
    """What to say of variables that are set and do nothing. `block_tokens`: of the engine's blocks; 0: not known."""
    said = []
    for name in sorted(environment):
        why = _why(name, environment[name], block_tokens)
        if why:
            said.append(f"{name} has no effect: {why}")
        elif name.startswith(PREFIX) and name.removeprefix(PREFIX) not in _EFFECTIVE and name not in _BLOCKS:
            near = difflib.get_close_matches(name.removeprefix(PREFIX), [*_EFFECTIVE, *_WHY], 1)
            said.append(f"{name} is no variable of this version"
                        + (f"; did you mean {PREFIX}{near[0]}?" if near else ""))
    return said


def _why(name: str, value: str, block_tokens: int) -> str:
    if name in _WHOLE:
        return _WHOLE[name]
    if name in _BLOCKS:
        tokens = value.strip()
        if tokens == str(block_tokens) or (tokens.startswith("-") and name.startswith(PREFIX)):
            return ""
        here = f"of {block_tokens} tokens, " if block_tokens else ""
        return f"blocks are those of vLLM, {here}and --block-size sets them"
    short = name.removeprefix(PREFIX) if name.startswith(PREFIX) else ""
    if short in _WHY:
        return _WHY[short]
    return next((why for family, why in _FAMILIES.items() if short.startswith(family)), "")
