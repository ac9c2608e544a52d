#include "cache.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "arguments.h"
#include "buffers.h"
#include "chains.h"
#include "errors.h"
#include "leases.h"
#include "options.h"
#include "reprise/cache.h"
#include "stats.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace reprise::python {
namespace {

using Timeout = std::optional<double>;

// A call works on a reference of its own, so that close() from another thread takes nothing away from under it.
class PyCache {
 public:
  PyCache(std::shared_ptr<SharedCache> cache, std::string url) : cache_(std::move(cache)), url_(std::move(url)) {}
  ~PyCache() { drop(cache_); }
  PyCache(const PyCache&) = delete;
  PyCache& operator=(const PyCache&) = delete;

  static std::shared_ptr<PyCache> open(const std::string& url, const nb::kwargs& arguments) {
    const CacheOptions options = options_of(arguments);
    auto cache = unwrap(without_gil([&] { return reprise::open(url, options); }));
    const bool embedded = url.empty() || url.starts_with("embedded:");
    const Duration ttl = embedded ? Duration(options.lease_ttl) : Duration::zero();
    return std::make_shared<PyCache>(std::make_shared<SharedCache>(std::move(cache), ttl), url);
  }

  void close() { drop(cache_); }
  [[nodiscard]] bool closed() const { return cache_ == nullptr; }
  [[nodiscard]] std::string text() const { return "<reprise.Cache '" + url_ + (closed() ? "', closed>" : "'>"); }

  // What `work(cache)` returns, without the GIL and unwrapped.
  template <typename Work>
  auto call(Work&& work) {
    std::shared_ptr<SharedCache> cache = held();
    auto result = without_gil([&] { return work(*cache->cache); });
    drop(cache);
    return unwrap(std::move(result));
  }
  [[nodiscard]] std::shared_ptr<SharedCache> held() const {
    if (cache_ == nullptr) throw Raised({ErrorCode::kInvalid, "the cache is closed"});
    return cache_;
  }

 private:
  std::shared_ptr<SharedCache> cache_;
  const std::string url_;
};

Match match(PyCache& self, nb::handle chains, Timeout timeout) {
  const ChainList list = chains_of(chains);
  const Deadline deadline = deadline_of(timeout);
  return self.call([&](Cache& cache) { return cache.match(list.chains, deadline); });
}

Match prefetch(PyCache& self, nb::handle chains, Timeout timeout) {
  const ChainList list = chains_of(chains);
  const Deadline deadline = deadline_of(timeout);
  return self.call([&](Cache& cache) { return cache.prefetch(list.chains, deadline); });
}

std::size_t erase(PyCache& self, nb::handle chains, Timeout timeout) {
  const ChainList list = chains_of(chains);
  const Deadline deadline = deadline_of(timeout);
  return self.call([&](Cache& cache) { return cache.erase(list.chains, deadline); });
}

std::shared_ptr<PyLease> acquire(PyCache& self, nb::handle chains, Timeout timeout) {
  const ChainList list = chains_of(chains);
  const Deadline deadline = deadline_of(timeout);
  Acquired acquired = self.call([&](Cache& cache) { return cache.acquire(list.chains, deadline); });
  return std::make_shared<PyLease>(self.held(), std::move(acquired.lease), acquired.match);
}

std::shared_ptr<PyLease> attach(PyCache& self, const nb::bytes& token) {
  LeaseToken id;
  if (token.size() != sizeof(id)) {
    throw nb::value_error(("token has " + std::to_string(token.size()) + " bytes; must have 16").c_str());
  }
  std::memcpy(&id, token.data(), sizeof(id));
  Lease lease = self.call([&](Cache& cache) { return cache.attach(id); });
  return std::make_shared<PyLease>(self.held(), std::move(lease), std::nullopt);
}

Match get(PyCache& self, nb::handle chains, nb::handle out, std::size_t start, Timeout timeout) {
  const ChainList list = chains_of(chains);
  const HeldBlocks blocks(out, list.block_bytes(), true, "out");
  const Deadline deadline = deadline_of(timeout);
  return self.call([&](Cache& cache) { return cache.get(list.chains, start, blocks.writable(), deadline); });
}

Stored put(PyCache& self, nb::handle chains, nb::handle offered, std::size_t start, Timeout timeout) {
  const ChainList list = chains_of(chains);
  const HeldBlocks blocks(offered, list.block_bytes(), false, "blocks");
  const std::vector<Bytes> bytes = blocks.readable();
  const Deadline deadline = deadline_of(timeout);
  return self.call([&](Cache& cache) { return cache.put(list.chains, start, bytes, deadline); });
}

std::shared_ptr<PyReservation> reserve(PyCache& self, const OwnedChain& chain, std::size_t start, Timeout timeout) {
  const Deadline deadline = deadline_of(timeout);
  Reservation reservation = self.call([&](Cache& cache) { return cache.reserve(chain.view(), start, deadline); });
  return std::make_shared<PyReservation>(self.held(), std::move(reservation));
}

bool flush(PyCache& self, Timeout timeout) {
  const Deadline deadline = deadline_of(timeout);
  return self.call([&](Cache& cache) { return cache.flush(deadline); });
}

PyStats stats(PyCache& self) {
  const std::shared_ptr<SharedCache> cache = self.held();
  PyStats out;
  static_cast<CacheStats&>(out) = self.call([&](Cache& core) { return Result<CacheStats>(core.stats()); });
  out.deferred_releases = cache->deferred_releases.load();
  return out;
}

nb::object memory(const PyCache& self, bool writable) {
  const CacheMemory memory = self.held()->memory;
  if (memory.bytes.empty()) return nb::none();
  return memoryview_of(std::make_shared<MappedMemory>(memory.keeper), memory.bytes.data(), memory.bytes.size(),
                       !writable);
}

#define CHAINS "Chain | Sequence[Chain]"
#define TIMEOUT "timeout: float | None = None"

void bind_reads(nb::class_<PyCache>& cache) {
  cache
      .def("match", &match, "chains"_a, nb::kw_only(), "timeout"_a.none() = nb::none(),
           nb::sig("def match(self, chains: " CHAINS ", *, " TIMEOUT ") -> Match"),
           "How much would be found. Moves nothing and never influences eviction.")
      .def("acquire", &acquire, "chains"_a, nb::kw_only(), "timeout"_a.none() = nb::none(),
           nb::sig("def acquire(self, chains: " CHAINS ", *, " TIMEOUT ") -> Lease"),
           "Leases the common run in place; lease.match says how long it is. Of several chains, the lease holds the "
           "needed blocks of the first, then those of the second, and so on.")
      .def("attach", &attach, "token"_a,
           "Joins a lease another process holds. DeniedError for a token that is unknown.")
      .def(
          "get", &get, "chains"_a, "out"_a, nb::kw_only(), "start"_a = 0, "timeout"_a.none() = nb::none(),
          nb::sig("def get(self, chains: " CHAINS ", out: Buffer | Sequence[Buffer], *, start: int = 0, " TIMEOUT
                  ") -> Match"),
          "Copies blocks [start, start + k) of each chain into `out`: k writable buffers per chain, chain after chain, "
          "each of block_bytes, or one buffer of whole blocks. The answer counts from `start`.")
      .def("prefetch", &prefetch, "chains"_a, nb::kw_only(), "timeout"_a.none() = nb::none(),
           nb::sig("def prefetch(self, chains: " CHAINS ", *, " TIMEOUT ") -> Match"),
           "Starts bringing the run up from L2; answers how much is there or on its way.");
}

void bind_writes(nb::class_<PyCache>& cache) {
  cache
      .def("put", &put, "chains"_a, "blocks"_a, nb::kw_only(), "start"_a = 0, "timeout"_a.none() = nb::none(),
           nb::sig("def put(self, chains: " CHAINS ", blocks: Buffer | Sequence[Buffer], *, start: int = 0, " TIMEOUT
                   ") -> Stored"),
           "Offers blocks [start, start + k) of each chain; shaped like `out` of get, but only read. Copies what is "
           "accepted and returns; nothing waits for L2.")
      .def("reserve", &reserve, "chain"_a, nb::kw_only(), "start"_a = 0, "timeout"_a.none() = nb::none(),
           nb::sig("def reserve(self, chain: Chain, *, start: int = 0, " TIMEOUT ") -> Reservation"),
           "Like put of [start, len(chain)), but the caller fills the blocks in place and commits.")
      .def("erase", &erase, "chains"_a, nb::kw_only(), "timeout"_a.none() = nb::none(),
           nb::sig("def erase(self, chains: " CHAINS ", *, " TIMEOUT ") -> int"),
           "Forgets the chains' blocks in every tier; returns how many were dropped.")
      .def("flush", &flush, nb::kw_only(), "timeout"_a.none() = nb::none(),
           nb::sig("def flush(self, *, " TIMEOUT ") -> bool"),
           "Waits until everything accepted so far is written to L2 or dropped; False at the deadline.");
}

}  // namespace

void bind_cache(nb::module_& m) {
  nb::class_<PyCache> cache(m, "Cache",
                            "A cache, wherever its bytes live. Any thread may call anything; the GIL is released "
                            "while a call copies, hashes or waits. `timeout` is in seconds; None: no deadline.");
  cache
      .def_static("open", &PyCache::open, "url"_a = "embedded:", "options"_a,
                  nb::sig("def open(url: str = 'embedded:', **options: bool | int | float | str | timedelta) -> Cache"),
                  "Opens 'embedded:', 'unix:///path' or 'tcp://host:port'. Options are those of docs/configuration.md "
                  "with '_' for '.' and '-': l1_capacity='4GiB', lease_ttl=30. TypeError for an unknown one; "
                  "ConfigError for what cannot work.")
      .def("close", &PyCache::close, "Closes it. Leases and views that live keep its memory until they are gone.")
      .def_prop_ro("closed", &PyCache::closed)
      .def("__repr__", &PyCache::text)
      .def(
          "__enter__", [](nb::object self) { return self; }, nb::sig("def __enter__(self) -> Cache"))
      .def(
          "__exit__", [](PyCache& self, const nb::args&) { self.close(); },
          nb::sig("def __exit__(self, *exc: object) -> None"))
      .def_prop_ro(
          "memory", [](const PyCache& self) { return memory(self, false); },
          nb::sig("def memory(self) -> memoryview | None"),
          "All memory that blocks of leases lie in, read-only, at the places of Lease.offsets; the same as long as the "
          "cache is open, and mapped as long as anybody looks at it. Only what a lease covers means anything. None "
          "where the blocks are not in one range: in attached caches.")
      .def_prop_ro(
          "writable_memory", [](const PyCache& self) { return memory(self, true); },
          nb::sig("def writable_memory(self) -> memoryview | None"),
          "The same to write to, at the places of Reservation.offsets and nowhere else.")
      .def("stats", &stats, "What was counted since the cache was opened.");
  bind_reads(cache);
  bind_writes(cache);
}

}  // namespace reprise::python
