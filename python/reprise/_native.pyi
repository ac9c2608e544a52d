"""The native half of reprise. Import names from `reprise`."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing_extensions import Buffer
import enum

__version__: str


class Reason(enum.Enum):
    """Why an answer holds fewer blocks than were asked for."""

    NONE = 0
    """Everything asked for is there."""

    MISS = 1
    """The next block is in no tier."""

    HOLE = 2
    """The next block is missing although a later one is present."""

    DECLINED = 3
    """The eviction policy values what it holds more than this block."""

    FULL = 4
    """No room could be made: what is resident is leased."""

    BUSY = 5
    """A bounded queue or a quota is used up for now."""

    TIMEOUT = 6
    """The deadline passed; what was ready by then is in the answer."""

    CORRUPT = 7
    """A stored copy failed its checksum and was dropped."""

    FOREIGN = 8
    """A stored copy belongs to something else and was not used."""

    UNAVAILABLE = 9
    """The tier is away or ejected for a while."""

    EXPIRED = 10
    """The lease ran out before the bytes were used."""

    UNSUPPORTED = 11
    """This cache or store does not offer the operation."""

class ErrorCode(enum.Enum):
    """Why a call could not be carried out as written."""

    INVALID = 0
    """An argument contradicts the contract."""

    CONFIG = 1
    """A configuration that cannot work."""

    VERSION = 2
    """A format or protocol version this build does not read."""

    DENIED = 3
    """Not permitted by the operating system or by credentials."""

    IO = 4
    """The operating system refused or failed an operation."""

    INTERNAL = 5
    """A broken invariant inside Reprise: please report it."""

class KeyScheme(enum.Enum):
    """How token lists become keys; docs/identity.md has the formulas."""

    SHA256 = 0
    """SHA-256 chain, safe against forged collisions."""

    XXH3 = 1
    """XXH3-128 chain: faster, for trusted callers only."""

    FARM_ROLLING = 2
    """
    FarmHash Fingerprint128 chain: for trusted callers who need these very keys.
    """

    FARM_SIMPLE = 3
    """
    FarmHash Fingerprint128 of all tokens up to the block's end: likewise, in quadratic time.
    """

class KeyChain:
    """
    Hashes a growing token list block by block. Not thread-safe: one per prompt.
    """

    def __init__(self, block_tokens: int, scheme: KeyScheme = KeyScheme.SHA256) -> None: ...

    def append(self, tokens: Sequence[int] | Buffer) -> None:
        """Appends tokens; every block that became complete adds one key."""

    @property
    def keys(self) -> list[bytes]:
        """Keys of the complete blocks so far, in order."""

    def packed(self, start: int = 0) -> bytes:
        """
        Keys of the blocks from `start` on, 16 bytes each, one after the other; none beyond the last.
        """

    @property
    def tail(self) -> list[int]:
        """Tokens of the incomplete last block."""

    def __len__(self) -> int: ...

def block_keys(tokens: Sequence[int] | Buffer, block_tokens: int, scheme: KeyScheme = KeyScheme.SHA256) -> list[bytes]:
    """Keys, 16 bytes each, of all complete blocks of `tokens`."""

def key_from_hash(algorithm: str, hash: Buffer, trust_hashes: bool = False) -> bytes:
    """
    Key of a block an engine has already hashed. Hashes that can be made to collide raise DeniedError unless `trust_hashes`.
    """

def keys_from_hashes(algorithm: str, hashes: Sequence[str | Buffer], group: int = 1, trust_hashes: bool = False) -> bytes:
    """
    Keys of many hashes, 16 bytes each, one after the other: what Chain takes. `group` consecutive hashes make one block; those of an incomplete last group are left out. A str counts as its UTF-8. With group 1 the keys are those of key_from_hash, and so is what is refused.
    """

class Namespace:
    """
    Everything that must agree before two engines may share a block. No field has a default; a wrong one raises InvalidError and is named.
    """

    def __init__(self, *, model: str, revision: str, dtype: str, layout: str, block_tokens: int, block_bytes: int, layers: range, heads: range, salt: str, extras: Mapping[str, str] | None = None) -> None: ...

    @property
    def id(self) -> bytes:
        """16 bytes: the digest of all fields."""

    @property
    def block_bytes(self) -> int:
        """Bytes of a block."""

    @property
    def block_tokens(self) -> int:
        """Tokens of a block."""

    @property
    def model(self) -> str: ...

    @property
    def layers(self) -> range: ...

    @property
    def heads(self) -> range: ...

    def __eq__(self, arg: object, /) -> bool: ...

    def __hash__(self) -> int: ...

    def __repr__(self) -> str: ...

class MatchRule:
    """Which blocks of a chain must be present for its first n to be usable."""

    @staticmethod
    def prefix() -> MatchRule:
        """All of [0, n): full attention. The default."""

    @staticmethod
    def last(window: int) -> MatchRule:
        """Only the last `window` blocks before n: sliding-window attention."""

    @staticmethod
    def exact(position: int) -> MatchRule:
        """Only the block at `position`: snapshots of a state."""

    def __eq__(self, arg: object, /) -> bool: ...

    def __hash__(self) -> int: ...

    def __repr__(self) -> str: ...

class Chain:
    """The blocks of one prompt, in order. Immutable."""

    def __init__(self, ns: Namespace, keys: Sequence[bytes] | Buffer, *, rule: MatchRule | None = None) -> None: ...

    @staticmethod
    def from_tokens(ns: Namespace, tokens: Sequence[int] | Buffer, *, rule: MatchRule | None = None, scheme: KeyScheme = KeyScheme.SHA256) -> Chain:
        """The complete blocks of a prompt; a last, incomplete one is left out."""

    @property
    def ns(self) -> Namespace: ...

    @property
    def rule(self) -> MatchRule: ...

    @property
    def keys(self) -> list[bytes]: ...

    def __len__(self) -> int: ...

    def __repr__(self) -> str: ...

class Match:
    """How far a chain, or the common run of several, is usable."""

    @property
    def blocks(self) -> int:
        """Length of the usable run, in blocks of each chain."""

    @property
    def from_l1(self) -> int:
        """Of the needed blocks of all chains: found in memory."""

    @property
    def from_l2(self) -> int:
        """Of the needed blocks of all chains: found behind it."""

    @property
    def reason(self) -> Reason:
        """Why the run ends before the chain does."""

    def __eq__(self, arg: object, /) -> bool: ...

    def __hash__(self) -> int: ...

    def __repr__(self) -> str: ...

class Stored:
    """What became of offered blocks."""

    @property
    def accepted(self) -> int:
        """Newly stored in some tier."""

    @property
    def present(self) -> int:
        """Already there, or being stored by another call."""

    @property
    def declined(self) -> int:
        """Not kept in any tier."""

    @property
    def reason(self) -> Reason:
        """Why the first declined block was."""

    @property
    def declined_blocks(self) -> list[bool]:
        """
        One entry per offered block, chain after chain; empty when none was declined.
        """

    def __repr__(self) -> str: ...

class TierStats:
    """One tier's counters; blocks, unless they say bytes."""

    @property
    def name(self) -> str: ...

    @property
    def capacity_bytes(self) -> int: ...

    @property
    def used_bytes(self) -> int: ...

    @property
    def blocks(self) -> int: ...

    @property
    def hits(self) -> int: ...

    @property
    def read_bytes(self) -> int: ...

    @property
    def writes(self) -> int: ...

    @property
    def write_bytes(self) -> int: ...

    @property
    def evictions(self) -> int: ...

    @property
    def corrupt(self) -> int: ...

    @property
    def foreign(self) -> int: ...

    @property
    def errors(self) -> int: ...

    def __repr__(self) -> str: ...

class CacheStats:
    """What a cache counted since it was opened: a snapshot."""

    @property
    def l1(self) -> TierStats: ...

    @property
    def l2(self) -> TierStats: ...

    @property
    def requested(self) -> int: ...

    @property
    def declined(self) -> int: ...

    @property
    def leases(self) -> int: ...

    @property
    def leased_blocks(self) -> int: ...

    @property
    def leases_expired(self) -> int: ...

    @property
    def touches_dropped(self) -> int: ...

    @property
    def ingest_queued_bytes(self) -> int: ...

    @property
    def ingest_dropped(self) -> int: ...

    @property
    def abandoned(self) -> int: ...

    @property
    def abandoned_running(self) -> int: ...

    @property
    def ejections(self) -> int: ...

    @property
    def metadata_bytes(self) -> int: ...

    @property
    def fixed_bytes(self) -> int: ...

    @property
    def populated(self) -> float: ...

    @property
    def deferred_releases(self) -> int:
        """
        Leases and reservations of this object that were left while views of them lived.
        """

    @property
    def reasons(self) -> dict[Reason, int]:
        """Answers of acquire and get that ended early, by reason."""

    def __repr__(self) -> str: ...

class BlockView:
    """What the memoryviews of blocks lean on."""

class Hold:
    """What Lease.hold returns. Let it go, or use it in a `with`."""

    def release(self) -> None:
        """Ends it. A second time does nothing."""

    def __enter__(self) -> Hold: ...

    def __exit__(self, *exc: object) -> None: ...

class Lease:
    """
    The right to read blocks in place. Use it in a `with`; lease[i] is a read-only memoryview of block i. While views live, the lease is renewed and not let go.
    """

    def __len__(self) -> int: ...

    def __repr__(self) -> str: ...

    def __getitem__(self, index: int, /) -> memoryview:
        """Block `index`, where it lies. BufferError when the lease has ended."""

    def __enter__(self) -> Lease: ...

    def __exit__(self, *exc: object) -> None: ...

    def release(self) -> None:
        """Ends it now. BufferError while views live. A second time does nothing."""

    def truncate(self, blocks: int) -> bool:
        """
        Gives back the blocks from index `blocks` on. False, and nothing changes, where others hold the lease too, where it has ended, and in attached caches. BufferError while views live.
        """

    def renew(self, seconds: float) -> bool:
        """
        Moves the expiry to `seconds` from now; False if the lease was void. In an attached cache, from then on nobody else renews it.
        """

    @property
    def valid(self) -> bool:
        """
        True if no byte read so far can have been replaced: ask after the last read, before using it.
        """

    @property
    def released(self) -> bool: ...

    @property
    def token(self) -> bytes:
        """16 bytes for Cache.attach of another process of the same tenant."""

    @property
    def offsets(self) -> memoryview:
        """
        Where in Cache.memory each block begins: int64, one a block, -2 for one that lies elsewhere. Not a view: see hold. BufferError when the lease has ended, or Cache.memory is None.
        """

    def hold(self) -> Hold:
        """
        Counts as a view as long as it lives: the lease is renewed and not let go. For who reads through Cache.memory. BufferError when the lease has ended.
        """

    @property
    def match(self) -> Match | None:
        """What acquire answered; None after attach."""

class Reservation:
    """
    The right to fill blocks before anybody can find them: write into r[i], then commit. Left without a commit, the memory is given back.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> memoryview | None:
        """
        Memory of block `index` to fill; None where it was declined or is already present.
        """

    @property
    def offsets(self) -> memoryview:
        """
        Where in Cache.writable_memory each block is to be filled: int64, one a block; -1 where r[i] is None, -2 where it lies elsewhere. BufferError when it has ended, or Cache.memory is None.
        """

    def __enter__(self) -> Reservation: ...

    def __exit__(self, *exc: object) -> None: ...

    def commit(self, count: int | None = None) -> int:
        """
        Makes the first `count` blocks (None: all) visible; returns how many of them are present now. Ends the reservation. BufferError while views live.
        """

    def abandon(self) -> None:
        """Gives the memory back. BufferError while views live."""

class Cache:
    """
    A cache, wherever its bytes live. Any thread may call anything; the GIL is released while a call copies, hashes or waits. `timeout` is in seconds; None: no deadline.
    """

    @staticmethod
    def open(url: str = 'embedded:', **options: bool | int | float | str | timedelta) -> Cache:
        """
        Opens 'embedded:', 'unix:///path' or 'tcp://host:port'. Options are those of docs/configuration.md with '_' for '.' and '-': l1_capacity='4GiB', lease_ttl=30. TypeError for an unknown one; ConfigError for what cannot work.
        """

    def close(self) -> None:
        """
        Closes it. Leases and views that live keep its memory until they are gone.
        """

    @property
    def closed(self) -> bool: ...

    def __repr__(self) -> str: ...

    def __enter__(self) -> Cache: ...

    def __exit__(self, *exc: object) -> None: ...

    @property
    def memory(self) -> memoryview | None:
        """
        All memory that blocks of leases lie in, read-only, at the places of Lease.offsets; the same as long as the cache is open, and mapped as long as anybody looks at it. Only what a lease covers means anything. None where the blocks are not in one range: in attached caches.
        """

    @property
    def writable_memory(self) -> memoryview | None:
        """
        The same to write to, at the places of Reservation.offsets and nowhere else.
        """

    def stats(self) -> CacheStats:
        """What was counted since the cache was opened."""

    def match(self, chains: Chain | Sequence[Chain], *, timeout: float | None = None) -> Match:
        """How much would be found. Moves nothing and never influences eviction."""

    def acquire(self, chains: Chain | Sequence[Chain], *, timeout: float | None = None) -> Lease:
        """
        Leases the common run in place; lease.match says how long it is. Of several chains, the lease holds the needed blocks of the first, then those of the second, and so on.
        """

    def attach(self, token: bytes) -> Lease:
        """
        Joins a lease another process holds. DeniedError for a token that is unknown.
        """

    def get(self, chains: Chain | Sequence[Chain], out: Buffer | Sequence[Buffer], *, start: int = 0, timeout: float | None = None) -> Match:
        """
        Copies blocks [start, start + k) of each chain into `out`: k writable buffers per chain, chain after chain, each of block_bytes, or one buffer of whole blocks. The answer counts from `start`.
        """

    def prefetch(self, chains: Chain | Sequence[Chain], *, timeout: float | None = None) -> Match:
        """
        Starts bringing the run up from L2; answers how much is there or on its way.
        """

    def put(self, chains: Chain | Sequence[Chain], blocks: Buffer | Sequence[Buffer], *, start: int = 0, timeout: float | None = None) -> Stored:
        """
        Offers blocks [start, start + k) of each chain; shaped like `out` of get, but only read. Copies what is accepted and returns; nothing waits for L2.
        """

    def reserve(self, chain: Chain, *, start: int = 0, timeout: float | None = None) -> Reservation:
        """
        Like put of [start, len(chain)), but the caller fills the blocks in place and commits.
        """

    def erase(self, chains: Chain | Sequence[Chain], *, timeout: float | None = None) -> int:
        """
        Forgets the chains' blocks in every tier; returns how many were dropped.
        """

    def flush(self, *, timeout: float | None = None) -> bool:
        """
        Waits until everything accepted so far is written to L2 or dropped; False at the deadline.
        """

class KvPieces:
    """
    Where the bytes of an engine's KV blocks lie in its tensors. Copies blocks out of them and into them, with the GIL released; keeps the tensors alive. Any thread may call anything, but two must not write the same block.
    """

    @staticmethod
    def from_tensors(tensors: Sequence[object], block_dims: int | Sequence[int] = 0, *, memory_order: bool = False) -> KvPieces:
        """
        Of torch tensors of the CPU or buffers (numpy), with any strides. block_dims: which dimension of each counts blocks. A block is the tensors' parts one after the other, each in the order of its indices, or, with memory_order, as it lies in memory: faster where dimensions are permuted. InvalidError for tensors that cannot be taken, with the reason.
        """

    @property
    def block_bytes(self) -> int:
        """Of one block, over all tensors."""

    @property
    def num_blocks(self) -> int: ...

    @property
    def num_pieces(self) -> int:
        """How many contiguous pieces make a block: the fewer, the faster."""

    @property
    def signature(self) -> str:
        """
        The order of the bytes in a block, as text: for an extra of the namespace. It does not say what the tensors mean.
        """

    def gather(self, block_ids: Sequence[int] | Buffer, out: Buffer | Sequence[Buffer], *, threads: int = 1) -> int:
        """
        Copies the tensors' block block_ids[i] into out[i]: writable buffers of block_bytes each, or one buffer of whole blocks. Returns how many. ValueError, before anything is copied, for an id that there is not. At most `threads` threads copy, fewer where little is to be copied.
        """

    def scatter(self, block_ids: Sequence[int] | Buffer, blocks: Buffer | Sequence[Buffer], *, threads: int = 1) -> int:
        """
        Copies blocks[i] into the tensors' block block_ids[i]; otherwise as gather.
        """

    def gather_into(self, reservation: Reservation, first: int, block_ids: Sequence[int] | Buffer, *, threads: int = 1) -> int:
        """
        Gathers into blocks [first, first + len(block_ids)) of a reservation, passing over those that it does not want (None). Returns how many were filled. BufferError when it has ended.
        """

    def scatter_from(self, lease: Lease, first: int, block_ids: Sequence[int] | Buffer, *, threads: int = 1) -> bool:
        """
        Scatters blocks [first, first + len(block_ids)) of a lease. False when the lease ran out before or meanwhile: what these blocks of the tensors hold then may be wrong. BufferError when it was released.
        """
