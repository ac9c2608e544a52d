#include "layout.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "arguments.h"
#include "buffers.h"
#include "errors.h"
#include "layout/block_pieces.h"
#include "layout/moves.h"
#include "leases.h"
#include "tensors.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace reprise::python {
namespace {

using Tensors = std::deque<HeldTensor>;

// One for all, or one for each.
std::vector<std::int64_t> block_dims_of(nb::handle dims, std::size_t tensors) {
  if (PyLong_Check(dims.ptr())) return std::vector<std::int64_t>(tensors, nb::cast<std::int64_t>(dims));
  std::vector<std::int64_t> out;
  for (nb::handle dim : nb::borrow<nb::object>(dims)) out.push_back(nb::cast<std::int64_t>(dim));
  if (out.size() != tensors) {
    throw nb::value_error(
        ("block_dims has " + std::to_string(out.size()) + " numbers for " + std::to_string(tensors) + " tensors")
            .c_str());
  }
  return out;
}

// Immutable once made: any thread may call anything.
class PyKvPieces {
 public:
  PyKvPieces(Tensors tensors, BlockPieces pieces) : tensors_(std::move(tensors)), pieces_(std::move(pieces)) {}
  PyKvPieces(const PyKvPieces&) = delete;
  PyKvPieces& operator=(const PyKvPieces&) = delete;

  static std::shared_ptr<PyKvPieces> from_tensors(nb::handle tensors, nb::handle block_dims, bool memory_order) {
    // It would iterate, too, over what is none of its layers.
    if (is_tensor(tensors)) throw nb::type_error("tensors: expected a sequence of tensors, not one of them");
    std::vector<nb::object> objects;
    for (nb::handle tensor : nb::borrow<nb::object>(tensors)) objects.push_back(nb::borrow(tensor));
    const std::vector<std::int64_t> dims = block_dims_of(block_dims, objects.size());
    Tensors held;
    std::vector<TensorView> views;
    for (std::size_t t = 0; t < objects.size(); ++t) {
      views.push_back(held.emplace_back(objects[t], dims[t], "tensors[" + std::to_string(t) + "]").view());
    }
    const PieceOrder order = memory_order ? PieceOrder::kMemory : PieceOrder::kLogical;
    return std::make_shared<PyKvPieces>(std::move(held), unwrap(BlockPieces::of(views, order)));
  }

  [[nodiscard]] const BlockPieces& pieces() const { return pieces_; }

  std::size_t gather(nb::handle block_ids, nb::handle out, std::size_t threads) const {
    const std::vector<std::uint32_t> ids = block_ids_of(block_ids, "block_ids");
    const HeldBlocks blocks(out, pieces_.block_bytes(), true, "out");
    return unwrap(without_gil([&] { return reprise::gather(pieces_, ids, blocks.writable(), threads); }));
  }

  std::size_t scatter(nb::handle block_ids, nb::handle blocks, std::size_t threads) const {
    check_writable();
    const std::vector<std::uint32_t> ids = block_ids_of(block_ids, "block_ids");
    const HeldBlocks held(blocks, pieces_.block_bytes(), false, "blocks");
    const std::vector<Bytes> bytes = held.readable();
    return unwrap(without_gil([&] { return reprise::scatter(pieces_, ids, bytes, threads); }));
  }

  std::size_t gather_into(const std::shared_ptr<PyReservation>& reservation, std::size_t first, nb::handle block_ids,
                          std::size_t threads) const {
    const std::vector<std::uint32_t> ids = block_ids_of(block_ids, "block_ids");
    if (reservation->ended()) raise_buffer_error("the reservation has ended");
    check_range("reservation", first, ids.size(), reservation->size());
    std::vector<MutableBytes> blocks(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) blocks[i] = reservation->block(first + i);
    const Viewing viewing(reservation);
    return unwrap(without_gil([&] { return reprise::gather(pieces_, ids, blocks, threads); }));
  }

  bool scatter_from(const std::shared_ptr<PyLease>& lease, std::size_t first, nb::handle block_ids,
                    std::size_t threads) const {
    check_writable();
    const std::vector<std::uint32_t> ids = block_ids_of(block_ids, "block_ids");
    if (lease->lease().released()) raise_buffer_error("the lease was released");
    check_range("lease", first, ids.size(), lease->lease().size());
    if (!lease->lease().valid()) return false;
    std::vector<Bytes> blocks(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) blocks[i] = lease->lease().block(first + i);
    const Viewing viewing(lease);
    static_cast<void>(unwrap(without_gil([&] { return reprise::scatter(pieces_, ids, blocks, threads); })));
    return lease->lease().valid();
  }

 private:
  // Counts as a view, so that the blocks are not let go while they are copied.
  class Viewing {
   public:
    explicit Viewing(std::shared_ptr<Viewed> owner) : owner_(std::move(owner)) { owner_->view_opened(); }
    ~Viewing() { owner_->view_closed(); }
    Viewing(const Viewing&) = delete;
    Viewing& operator=(const Viewing&) = delete;

   private:
    std::shared_ptr<Viewed> owner_;
  };

  static void check_range(const char* what, std::size_t first, std::size_t count, std::size_t size) {
    if (first <= size && count <= size - first) return;
    throw Raised({ErrorCode::kInvalid, std::to_string(count) + " blocks from " + std::to_string(first) + " on; the " +
                                           what + " has " + std::to_string(size)});
  }

  void check_writable() const {
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
      if (!tensors_[t].writable()) {
        throw nb::value_error(("tensors[" + std::to_string(t) + "] is read-only; it must be writable").c_str());
      }
    }
  }

  Tensors tensors_;
  BlockPieces pieces_;
};

#define IDS "block_ids: Sequence[int] | Buffer"
#define THREADS "threads: int = 1"

void bind_moves(nb::class_<PyKvPieces>& pieces) {
  pieces
      .def("gather", &PyKvPieces::gather, "block_ids"_a, "out"_a, nb::kw_only(), "threads"_a = 1,
           nb::sig("def gather(self, " IDS ", out: Buffer | Sequence[Buffer], *, " THREADS ") -> int"),
           "Copies the tensors' block block_ids[i] into out[i]: writable buffers of block_bytes each, or one buffer of "
           "whole blocks. Returns how many. ValueError, before anything is copied, for an id that there is not. At "
           "most `threads` threads copy, fewer where little is to be copied.")
      .def("scatter", &PyKvPieces::scatter, "block_ids"_a, "blocks"_a, nb::kw_only(), "threads"_a = 1,
           nb::sig("def scatter(self, " IDS ", blocks: Buffer | Sequence[Buffer], *, " THREADS ") -> int"),
           "Copies blocks[i] into the tensors' block block_ids[i]; otherwise as gather.")
      .def("gather_into", &PyKvPieces::gather_into, "reservation"_a, "first"_a, "block_ids"_a, nb::kw_only(),
           "threads"_a = 1,
           nb::sig("def gather_into(self, reservation: Reservation, first: int, " IDS ", *, " THREADS ") -> int"),
           "Gathers into blocks [first, first + len(block_ids)) of a reservation, passing over those that it does not "
           "want (None). Returns how many were filled. BufferError when it has ended.")
      .def("scatter_from", &PyKvPieces::scatter_from, "lease"_a, "first"_a, "block_ids"_a, nb::kw_only(),
           "threads"_a = 1,
           nb::sig("def scatter_from(self, lease: Lease, first: int, " IDS ", *, " THREADS ") -> bool"),
           "Scatters blocks [first, first + len(block_ids)) of a lease. False when the lease ran out before or "
           "meanwhile: what these blocks of the tensors hold then may be wrong. BufferError when it was released.");
}

}  // namespace

void bind_layout(nb::module_& m) {
  nb::class_<PyKvPieces> pieces(
      m, "KvPieces",
      "Where the bytes of an engine's KV blocks lie in its tensors. Copies blocks out of them and into them, with the "
      "GIL released; keeps the tensors alive. Any thread may call anything, but two must not write the same block.");
  pieces
      .def_static("from_tensors", &PyKvPieces::from_tensors, "tensors"_a, "block_dims"_a = 0, nb::kw_only(),
                  "memory_order"_a = false,
                  nb::sig("def from_tensors(tensors: Sequence[object], block_dims: int | Sequence[int] = 0, *, "
                          "memory_order: bool = False) -> KvPieces"),
                  "Of torch tensors of the CPU or buffers (numpy), with any strides. block_dims: which dimension of "
                  "each counts blocks. A block is the tensors' parts one after the other, each in the order of its "
                  "indices, or, with memory_order, as it lies in memory: faster where dimensions are permuted. "
                  "InvalidError for tensors that cannot be taken, with the reason.")
      .def_prop_ro(
          "block_bytes", [](const PyKvPieces& self) { return self.pieces().block_bytes(); },
          "Of one block, over all tensors.")
      .def_prop_ro("num_blocks", [](const PyKvPieces& self) { return self.pieces().num_blocks(); })
      .def_prop_ro(
          "num_pieces", [](const PyKvPieces& self) { return self.pieces().pieces().size(); },
          "How many contiguous pieces make a block: the fewer, the faster.")
      .def_prop_ro(
          "signature", [](const PyKvPieces& self) { return self.pieces().signature(); },
          "The order of the bytes in a block, as text: for an extra of the namespace. It does not say what the tensors "
          "mean.");
  bind_moves(pieces);
}

}  // namespace reprise::python
