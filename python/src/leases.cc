#include "leases.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "errors.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace reprise::python {
namespace {

std::size_t index_of(std::int64_t index, std::size_t size, const char* what) {
  const auto count = static_cast<std::int64_t>(size);
  if (index < -count || index >= count) {
    throw nb::index_error(
        (std::string(what) + " index " + std::to_string(index) + " of " + std::to_string(size)).c_str());
  }
  return static_cast<std::size_t>(index < 0 ? index + count : index);
}

// Counted always, told once a cache: a loop would repeat itself.
void note_deferred(SharedCache& cache, const char* what) {
  if (cache.deferred_releases.fetch_add(1) != 0) return;
  const std::string text = std::string("a ") + what +
                           " was left while views of it live: it is given back when the last one is gone. Release "
                           "views (memoryview.release, del) before leaving the block";
  if (PyErr_WarnEx(PyExc_ResourceWarning, text.c_str(), 1) != 0) throw nb::python_error();
}

[[noreturn]] void raise_viewed(const char* what, std::size_t views) {
  raise_buffer_error(std::string("the ") + what + " has " + std::to_string(views) +
                     " live views; release them first (memoryview.release, del)");
}

void check_readable(const PyLease& self) {
  if (self.lease().released()) raise_buffer_error("the lease was released");
  if (!self.lease().valid()) raise_buffer_error("the lease ran out: its memory may hold other blocks by now");
}

nb::object lease_item(const std::shared_ptr<PyLease>& self, std::int64_t index) {
  if (self->lease().released()) raise_buffer_error("the lease was released");
  const std::size_t i = index_of(index, self->lease().size(), "block");
  check_readable(*self);
  const Bytes bytes = self->lease().block(i);
  // The core hands out what it will not let us write to; FillInfo wants a plain pointer, and is told it is read-only.
  return memoryview_of(self, const_cast<std::byte*>(bytes.data()), bytes.size(), true);
}

nb::object reservation_item(const std::shared_ptr<PyReservation>& self, std::int64_t index) {
  const std::size_t i = index_of(index, self->size(), "block");
  if (self->ended()) raise_buffer_error("the reservation has ended");
  const MutableBytes bytes = self->block(i);
  if (bytes.empty()) return nb::none();
  return memoryview_of(self, bytes.data(), bytes.size(), false);
}

// Of blocks in the cache's memory: where each begins. -1 where there is none, -2 where it lies elsewhere.
template <typename Block>
nb::object offsets_of(const SharedCache& cache, std::size_t count, Block block) {
  const MutableBytes all = cache.memory.bytes;
  if (all.empty()) raise_buffer_error("the blocks of this cache are not in one range of memory: Cache.memory is None");
  std::vector<std::int64_t> offsets(count);
  for (std::size_t i = 0; i < count; ++i) {
    const Bytes bytes = block(i);
    const auto offset = reinterpret_cast<std::uintptr_t>(bytes.data()) - reinterpret_cast<std::uintptr_t>(all.data());
    const bool inside = offset <= all.size() && bytes.size() <= all.size() - offset;
    offsets[i] = bytes.empty() ? -1 : inside ? static_cast<std::int64_t>(offset) : -2;
  }
  const nb::bytes packed(offsets.data(), count * sizeof(std::int64_t));
  const nb::object view = nb::steal(PyMemoryView_FromObject(packed.ptr()));
  if (!view.is_valid()) throw nb::python_error();
  return view.attr("cast")("q");
}

nb::object lease_offsets(const PyLease& self) {
  check_readable(self);
  return offsets_of(self.cache(), self.lease().size(), [&](std::size_t i) { return self.lease().block(i); });
}

nb::object reservation_offsets(PyReservation& self) {
  if (self.ended()) raise_buffer_error("the reservation has ended");
  return offsets_of(self.cache(), self.size(), [&](std::size_t i) -> Bytes { return self.block(i); });
}

// Counts as a view of the lease, without a memoryview.
class Hold {
 public:
  explicit Hold(std::shared_ptr<PyLease> lease) : lease_(std::move(lease)) { lease_->view_opened(); }
  ~Hold() { release(); }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

  void release() {
    if (const auto lease = std::exchange(lease_, nullptr)) lease->view_closed();
  }

 private:
  std::shared_ptr<PyLease> lease_;
};

std::shared_ptr<Hold> hold(const std::shared_ptr<PyLease>& self) {
  check_readable(*self);
  return std::make_shared<Hold>(self);
}

bool renew(const PyLease& self, double seconds) {
  if (!(seconds > 0 && seconds < 1e9)) throw nb::value_error("seconds must be more than 0");
  const auto span = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  return without_gil([&] { return self.lease().renew(span); });
}

std::string text_of(const PyLease& self) {
  const ViewedLease& lease = self.lease();
  const char* state = lease.released() ? ", released" : lease.valid() ? "" : ", ran out";
  return "<reprise.Lease of " + std::to_string(lease.size()) + " blocks" + state + ">";
}

nb::bytes token_of(const PyLease& self) {
  const LeaseToken token = unwrap(without_gil([&] { return self.lease().token(); }));
  return nb::bytes(token.bytes.data(), token.bytes.size());
}

void bind_lease(nb::module_& m) {
  nb::class_<PyLease>(m, "Lease",
                      "The right to read blocks in place. Use it in a `with`; lease[i] is a read-only memoryview of "
                      "block i. While views live, the lease is renewed and not let go.")
      .def("__len__", [](const PyLease& self) { return self.lease().size(); })
      .def("__repr__", &text_of)
      .def("__getitem__", &lease_item, "index"_a, nb::sig("def __getitem__(self, index: int, /) -> memoryview"),
           "Block `index`, where it lies. BufferError when the lease has ended.")
      .def(
          "__enter__", [](nb::object self) { return self; }, nb::sig("def __enter__(self) -> Lease"))
      .def(
          "__exit__", [](PyLease& self, const nb::args&) { self.leave(); },
          nb::sig("def __exit__(self, *exc: object) -> None"))
      .def("release", &PyLease::release, "Ends it now. BufferError while views live. A second time does nothing.")
      .def("truncate", &PyLease::truncate, "blocks"_a,
           "Gives back the blocks from index `blocks` on. False, and nothing changes, where others hold the lease too, "
           "where it has ended, and in attached caches. BufferError while views live.")
      .def("renew", &renew, "seconds"_a,
           "Moves the expiry to `seconds` from now; False if the lease was void. In an attached cache, from then on "
           "nobody else renews it.")
      .def_prop_ro(
          "valid", [](const PyLease& self) { return self.lease().valid(); },
          "True if no byte read so far can have been replaced: ask after the last read, before using it.")
      .def_prop_ro("released", [](const PyLease& self) { return self.lease().released(); })
      .def_prop_ro("token", &token_of, "16 bytes for Cache.attach of another process of the same tenant.")
      .def_prop_ro("offsets", &lease_offsets, nb::sig("def offsets(self) -> memoryview"),
                   "Where in Cache.memory each block begins: int64, one a block, -2 for one that lies elsewhere. Not a "
                   "view: see hold. BufferError when the lease has ended, or Cache.memory is None.")
      .def("hold", &hold, nb::sig("def hold(self) -> Hold"),
           "Counts as a view as long as it lives: the lease is renewed and not let go. For who reads through "
           "Cache.memory. BufferError when the lease has ended.")
      .def_prop_ro(
          "match", [](const PyLease& self) { return self.match(); }, nb::sig("def match(self) -> Match | None"),
          "What acquire answered; None after attach.");
}

}  // namespace

void drop(std::shared_ptr<SharedCache>& cache) {
  if (cache == nullptr) return;
  std::shared_ptr<SharedCache> ending = std::move(cache);  // With the GIL: another thread may be looking at `cache`.
  cache = nullptr;
  const nb::gil_scoped_release released;
  ending.reset();
}

PyLease::~PyLease() {
  let_go();
  drop(cache_);
}

void PyLease::let_go() {
  without_gil([this] { lease_->release(); });
}

bool PyLease::truncate(std::size_t blocks) {
  if (const std::size_t views = lease_->views.load(); views != 0) raise_viewed("lease", views);
  return without_gil([&] { return lease_->truncate(blocks); });
}

void PyLease::release() {
  if (const std::size_t views = lease_->views.load(); views != 0) raise_viewed("lease", views);
  let_go();
}

void PyLease::leave() {
  if (lease_->views.load() == 0) return let_go();
  deferred_ = true;
  note_deferred(*cache_, "lease");
}

void PyLease::view_opened() {
  if (lease_->views.fetch_add(1) == 0) cache_->keeper.watch(lease_);
}

void PyLease::view_closed() {
  if (lease_->views.fetch_sub(1) == 1 && deferred_) let_go();
}

PyReservation::~PyReservation() {
  let_go();
  drop(cache_);
}

void PyReservation::let_go() {
  if (ended_) return;
  ended_ = true;
  without_gil([this] { reservation_ = Reservation(); });
}

std::size_t PyReservation::commit(std::optional<std::size_t> count) {
  if (ended_) throw Raised({ErrorCode::kInvalid, "the reservation has ended"});
  if (count.value_or(0) > size_) {
    throw Raised({ErrorCode::kInvalid, "count is " + std::to_string(*count) + " of " + std::to_string(size_)});
  }
  if (views_ != 0) raise_viewed("reservation", views_);
  ended_ = true;
  return without_gil([&] { return reservation_.commit(count.value_or(size_)); });
}

void PyReservation::abandon() {
  if (views_ != 0) raise_viewed("reservation", views_);
  let_go();
}

void PyReservation::leave() {
  if (ended_) return;
  if (views_ == 0) return let_go();
  deferred_ = true;
  note_deferred(*cache_, "reservation");
}

void PyReservation::view_closed() {
  if (--views_ == 0 && deferred_) let_go();
}

void bind_leases(nb::module_& m) {
  nb::class_<Hold>(m, "Hold", "What Lease.hold returns. Let it go, or use it in a `with`.")
      .def("release", &Hold::release, "Ends it. A second time does nothing.")
      .def(
          "__enter__", [](nb::object self) { return self; }, nb::sig("def __enter__(self) -> Hold"))
      .def(
          "__exit__", [](Hold& self, const nb::args&) { self.release(); },
          nb::sig("def __exit__(self, *exc: object) -> None"));
  bind_lease(m);
  nb::class_<PyReservation>(m, "Reservation",
                            "The right to fill blocks before anybody can find them: write into r[i], then commit. "
                            "Left without a commit, the memory is given back.")
      .def("__len__", &PyReservation::size)
      .def("__getitem__", &reservation_item, "index"_a,
           nb::sig("def __getitem__(self, index: int, /) -> memoryview | None"),
           "Memory of block `index` to fill; None where it was declined or is already present.")
      .def_prop_ro("offsets", &reservation_offsets, nb::sig("def offsets(self) -> memoryview"),
                   "Where in Cache.writable_memory each block is to be filled: int64, one a block; -1 where r[i] is "
                   "None, -2 where it lies elsewhere. BufferError when it has ended, or Cache.memory is None.")
      .def(
          "__enter__", [](nb::object self) { return self; }, nb::sig("def __enter__(self) -> Reservation"))
      .def(
          "__exit__", [](PyReservation& self, const nb::args&) { self.leave(); },
          nb::sig("def __exit__(self, *exc: object) -> None"))
      .def("commit", &PyReservation::commit, "count"_a.none() = nb::none(),
           "Makes the first `count` blocks (None: all) visible; returns how many of them are present now. Ends the "
           "reservation. BufferError while views live.")
      .def("abandon", &PyReservation::abandon, "Gives the memory back. BufferError while views live.");
}

}  // namespace reprise::python
