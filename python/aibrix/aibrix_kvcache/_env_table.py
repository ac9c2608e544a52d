"""Every environment variable of the package, in one table. docs/aibrix-environment.md is generated from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from . import _env_parsers as parsers
from ._env_parsers import BOOLEAN, LOWER, NAMES, PATH, PORT, SECONDS, SHARE, TEXT, THRESHOLD, UPPER, Parser, choice

PREFIX = "AIBRIX_KV_CACHE_OL_"
_MIB = 1024 * 1024

_NOT_YET = "there is no {} backend in this version"
_NO_META = "there is no clustered backend in this version, so nobody asks a meta service"
_NO_TYPE3 = "there is no Type3 connector any more"
_NO_SYNC = "the connector's scheduler side asks for all ranks at once"
_NO_RDMA = "there is no RDMA transport in this version"


class Variable(NamedTuple):
    """One variable: how it is read, what stands for it where it is not set, and what it does.

    no_effect: why it does nothing, empty if it does something; or a function of the value that says so.
    aliases: older names, asked in this order where the variable itself is not set.
    """

    name: str
    parser: Parser
    default: str
    meaning: str
    no_effect: str | Callable[[Any], str] = ""
    aliases: tuple[str, ...] = ()


def _device(value: str) -> str:
    return "" if value == "cpu" else "the cache keeps blocks in the memory of the CPU"


def _ours(
    name: str,
    parser: Parser,
    default: str,
    meaning: str,
    no_effect: str | Callable[[Any], str] = "",
    aliases: tuple[str, ...] = (),
) -> Variable:
    """A variable with the prefix, as its aliases have it."""
    return Variable(PREFIX + name, parser, default, meaning, no_effect, tuple(PREFIX + alias for alias in aliases))


_CACHE = (
    _ours("BLOCK_SIZE", parsers.integer(), "-1",
          "tokens of a block of the cache, a power of two; 0 or less: as the engine's"),
    _ours("CHUNK_SIZE", parsers.integer(1), "512",
          "tokens per chunk of `cache_chunk_keys`; whole blocks, at least four"),
    _ours("MAX_SEQ_LEN", parsers.integer(), "-1", "tokens beyond this are not stored; 0 or less: no limit"),
    _ours("TOKEN_VALIDATION_ENABLED", BOOLEAN, "0",
          "keep the tokens with each block and compare them; refuses block hashes as keys"),
    _ours("MODEL", TEXT, "",
          "name of the model, part of the identity of every block; `KVCacheConfig.model` comes first"),
    _ours("GROUP_TIMEOUT_S", SECONDS, "60", "seconds a rank of `GroupAwareKVCacheManager` waits for the others"),
    _ours("FLUSH_TIMEOUT_S", SECONDS, "60", "seconds `flush` waits; then it answers TIMEOUT"),
    _ours("TIME_MEASUREMENT_ENABLED", BOOLEAN, "1", "measure how long calls take"),
    _ours("BREAKDOWN_MEASUREMENT_ENABLED", BOOLEAN, "1", "break the time of calls down into parts",
          no_effect="a call is one call of the core and has no parts"),
    _ours("PROFILING_ENABLED", BOOLEAN, "0",
          "send profiles to a Pyroscope server, and mark NVTX ranges if `nvtx` is there"),
    _ours("PROFILING_SERVER_ADDRESS", TEXT, "http://0.0.0.0:4040", "where the Pyroscope server is"),
)  # fmt: skip

_L1 = (
    _ours("L1_CACHE_ENABLED", BOOLEAN, "1", "keep blocks in memory"),
    _ours("L1_CACHE_CAPACITY_GB", parsers.number(0, 2**20), "10", "GiB of blocks in memory, per process"),
    _ours("L1_CACHE_EVICTION_POLICY", UPPER, "S3FIFO",
          "LRU, FIFO, S3FIFO, ADAPTIVE, or a policy that the program registered"),
    _ours("L1_CACHE_EVICT_SIZE", parsers.integer(), "16", "blocks that are evicted at once",
          no_effect="exactly as many blocks are evicted as room is needed for"),
    _ours("L1_CACHE_PIN_MEMORY", BOOLEAN, "1", "page-lock the memory of the cache",
          no_effect="the memory of the cache is not page-locked"),
    _ours("DEVICE", LOWER, "cpu", "where blocks are kept: `cpu`", no_effect=_device, aliases=("L1_CACHE_DEVICE",)),
    _ours("S3FIFO_SMALL_TO_MAIN_PROMO_THRESHOLD", parsers.integer(1, 3), "1", "hits after which S3FIFO keeps a block",
          no_effect="the core's S3FIFO has fixed parameters (docs/policies.md)"),
    _ours("S3FIFO_SMALL_FIFO_CAPACITY_RATIO", SHARE, "0.3", "share of the small queue of S3FIFO",
          no_effect="the core's S3FIFO has fixed parameters (docs/policies.md)"),
)  # fmt: skip

_L2 = (
    _ours("L2_CACHE_BACKEND",
          choice("", "ROCKSDB", "SHFS", "MOCK", "REPRISE", "INFINISTORE", "HPKV", "PRISKV", "PRIS", "EIC"), "",
          "what lies behind memory: ROCKSDB, SHFS, MOCK, REPRISE (a cache by URL); empty: nothing. "
          "The other names are refused when a manager starts"),
    _ours("REPRISE_URL", TEXT, "unix:///run/reprise/reprise.sock",
          "URL of the cache behind memory, for the backend REPRISE"),
    _ours("REPRISE_TOKEN_FILE", PATH, "", "file with the token that is shown to that cache; empty: none"),
    _ours("L2_CACHE_NAMESPACE", LOWER, "aibrix", "part of the identity of every block"),
    _ours("L2_CACHE_KEY_BUILDER", choice("", "ROLLING_HASH", "SIMPLE_HASH", "RAW"), "",
          "how keys are made of tokens; empty: the SHA-256 chain of identity.md. The others are for L2s shared with "
          "programs that use them, and can be made to collide"),
    _ours("L2_CACHE_INGESTION_TYPE", choice("HOT", "ALL", "EVICTED"), "HOT",
          "which blocks go from memory to L2. Anything else is an error; other versions took it for EVICTED"),
    _ours("L2_CACHE_INGESTION_MAX_INFLIGHT_TOKENS", parsers.integer(0), "0",
          "tokens that may wait to be written to L2; 0: `put` writes before it returns"),
    _ours("L2_CACHE_PER_TOKEN_TIMEOUT_MS", parsers.integer(0), "20",
          "milliseconds a call waits for L2, per token it asks for"),
    _ours("L2_CACHE_NUM_ASYNC_WORKERS", parsers.integer(1, 256), "8", "threads that talk to L2"),
    _ours("DOUBLE_GET_THRESHOLD", THRESHOLD, "4,0.1",
          "ask L2 only if at least so many blocks, and this share of those asked for, are missing in memory"),
    _ours("L2_CACHE_OP_BATCH", parsers.integer(1), "32", "blocks per request to L2",
          no_effect="a call is one request, and the store cuts it as it likes"),
    _ours("L2_CACHE_COMPRESSION", UPPER, "", "compress blocks in L2", no_effect="blocks are not compressed"),
    _ours("L2_CACHE_PLACEMENT_POLICY", choice("SIMPLE"),
          "SIMPLE", "how blocks are spread over members", no_effect=_NO_META),
    _ours("META_SERVICE_BACKEND", choice("", "REDIS"), "", "where the list of members comes from", no_effect=_NO_META),
    _ours("META_SERVICE_URL", TEXT, "", "URL of the meta service", no_effect=_NO_META),
    _ours("META_SERVICE_REFRESH_INTERVAL_S", parsers.integer(0), "30",
          "seconds between two looks at the list", no_effect=_NO_META),
    _ours("META_SERVICE_CLUSTER_META_KEY", TEXT, "", "key of the list", no_effect=_NO_META),
)  # fmt: skip

_STORES = (
    _ours("SHFS_ROOT", PATH, "~/.kv_cache_ol/shfs", "directory of the backend SHFS"),
    _ours("ROCKSDB_ROOT", PATH, "~/.kv_cache_ol/rocksdb", "directory of the backend ROCKSDB"),
    _ours("ROCKSDB_TTL_S", parsers.integer(0), "600", "seconds a block lives; 0: for ever"),
    _ours("ROCKSDB_WRITE_BUFFER_SIZE", parsers.integer(1), str(64 * _MIB), "bytes of a write buffer"),
    _ours("ROCKSDB_TARGET_FILE_SIZE_BASE", parsers.integer(1), str(64 * _MIB), "bytes of a file of the first level"),
    _ours("ROCKSDB_MAX_WRITE_BUFFER_NUMBER", parsers.integer(1), "3", "write buffers"),
    _ours("ROCKSDB_MAX_TOTAL_WAL_SIZE", parsers.integer(0), str(128 * _MIB), "bytes of the log"),
    _ours("ROCKSDB_MAX_BACKGROUND_JOBS", parsers.integer(1), "8", "compactions and flushes at once"),
    _ours("MOCK_USE_RDMA", BOOLEAN, "0", "let MOCK claim RDMA", no_effect=_NO_RDMA),
    _ours("MOCK_USE_GDR_PUT", BOOLEAN, "0", "let MOCK read the memory of a GPU", no_effect=_NO_RDMA),
    _ours("MOCK_USE_GDR_GET", BOOLEAN, "0", "let MOCK write the memory of a GPU", no_effect=_NO_RDMA),
    _ours("MOCK_USE_MPUT_MGET", BOOLEAN, "0", "let MOCK take several blocks at once", no_effect="it always does"),
    _ours("MOCK_USE_NOOP", BOOLEAN, "0", "let MOCK store nothing", no_effect="MOCK keeps what it is given"),
)  # fmt: skip

_INFINISTORE, _HPKV = _NOT_YET.format("INFINISTORE"), _NOT_YET.format("HPKV")
_PRISKV, _EIC = _NOT_YET.format("PRISKV"), _NOT_YET.format("EIC")

_LATER = (
    _ours("INFINISTORE_HOST_ADDR", TEXT, "127.0.0.1", "host of the server", no_effect=_INFINISTORE),
    _ours("INFINISTORE_SERVICE_PORT", PORT, "12345", "its port", no_effect=_INFINISTORE),
    _ours("INFINISTORE_CONNECTION_TYPE", choice("RDMA", "TCP"), "RDMA", "how to connect", no_effect=_INFINISTORE),
    _ours("INFINISTORE_IB_PORT", parsers.integer(), "1", "port of the adapter", no_effect=_INFINISTORE),
    _ours("INFINISTORE_LINK_TYPE", choice("Ethernet", "IB"), "Ethernet", "link of the adapter", no_effect=_INFINISTORE),
    _ours("INFINISTORE_VISIBLE_DEV_LIST", NAMES, "",
          "adapters to use, `device` or `device:gid`", no_effect=_INFINISTORE),
    _ours("INFINISTORE_USE_GDR", BOOLEAN, "1", "move blocks between GPU and adapter", no_effect=_INFINISTORE),
    _ours("HPKV_REMOTE_ADDR", TEXT, "127.0.0.1", "host of the server", no_effect=_HPKV),
    _ours("HPKV_REMOTE_PORT", PORT, "12346", "its port", no_effect=_HPKV),
    _ours("HPKV_LOCAL_ADDR", TEXT, "127.0.0.1", "own address", no_effect=_HPKV),
    _ours("HPKV_LOCAL_PORT", PORT, "12345", "own port", no_effect=_HPKV),
    _ours("HPKV_USE_GDR", BOOLEAN, "1", "move blocks between GPU and adapter", no_effect=_HPKV),
    _ours("PRISKV_REMOTE_ADDR", TEXT, "127.0.0.1",
          "host of the server", no_effect=_PRISKV, aliases=("PRIS_REMOTE_ADDR",)),
    _ours("PRISKV_REMOTE_PORT", PORT, "6379", "its port", no_effect=_PRISKV, aliases=("PRIS_REMOTE_PORT",)),
    _ours("PRISKV_USE_MPUT_MGET", BOOLEAN, "0",
          "several blocks at once", no_effect=_PRISKV, aliases=("PRIS_USE_MPUT_MGET",)),
    _ours("PRISKV_USE_ZERO_COPY", BOOLEAN, "0",
          "use the server's memory", no_effect=_PRISKV, aliases=("PRIS_USE_ZERO_COPY",)),
    _ours("PRISKV_PASSWORD", TEXT, "", "password of the server", no_effect=_PRISKV, aliases=("PRIS_PASSWORD",)),
    _ours("EIC_CONFIG_FILE", PATH, "", "file that describes the service", no_effect=_EIC),
    _ours("TRANSPORT_RDMA_ADDR_RANGE", TEXT, "::/0", "addresses of adapters that may be used", no_effect=_NO_RDMA),
)  # fmt: skip

_ENGINES = (
    Variable("VLLM_AIBRIX_SYNC_GRANULARITY", choice("NONE", "PER_OP", "PER_BATCH"), "PER_OP",
             "how often the ranks of a vLLM engine agree", no_effect=_NO_SYNC),
    Variable("VLLM_AIBRIX_SIDE_CHANNEL_PORT", PORT, "6667", "port of the Type3 connector", no_effect=_NO_TYPE3),
    Variable("VLLM_AIBRIX_TYPE3_USE_LAYER_WISE_SAVE", BOOLEAN, "1", "let the Type3 connector save layer by layer",
             no_effect=_NO_TYPE3),
)  # fmt: skip

SECTIONS: tuple[tuple[str, tuple[Variable, ...]], ...] = (
    ("The cache", _CACHE),
    ("L1: memory", _L1),
    ("L2: what lies behind memory", _L2),
    ("Backends", _STORES),
    ("Backends that are not there yet", _LATER),
    ("Engines", _ENGINES),
)

VARIABLES: dict[str, Variable] = {variable.name: variable for _, section in SECTIONS for variable in section}
