// The seam for moving bytes: a connected, reliable byte stream that never blocks.
//
// Forms: a Unix or TCP socket (socket_stream.h), TLS over one (tls.h), a pair inside one process for tests
// (testing/loopback.h), and one that makes trouble (testing/flaky_stream.h). All pass testing/stream_contract.h.
// One thread may read while another writes; shutdown, and what only asks, from any thread at any time. Nothing throws,
// and no signal is raised when the peer is gone.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "reprise/block.h"
#include "reprise/deadline.h"
#include "reprise/status.h"

namespace reprise {

enum class Flow : std::uint8_t {
  kMoved,      ///< At least one byte was moved.
  kWantRead,   ///< Nothing moved: try again when the descriptor is readable (TLS may want this to write, too).
  kWantWrite,  ///< Nothing moved: try again when it is writable.
  kClosed,     ///< The peer closed, in order; for reads only.
  kFailed,     ///< Broken: reset, TLS alert, bad record. `failure()` says why.
  kTimeout,    ///< Only from the waiting helpers below.
};

struct Moved {
  Flow flow = Flow::kMoved;
  std::size_t bytes = 0;
};

class Stream {
 public:
  virtual ~Stream() = default;  ///< Closes.
  /// Reads what is there into `pieces`, in order; at most kMaxStreamPieces of them are looked at.
  [[nodiscard]] virtual Moved read(std::span<const MutableBytes> pieces) = 0;
  /// Writes what fits; at most kMaxStreamPieces are looked at.
  [[nodiscard]] virtual Moved write(std::span<const Bytes> pieces) = 0;
  /// For poll and epoll; -1 where there is none.
  [[nodiscard]] virtual int fd() const = 0;
  /// Both directions end; a thread waiting on the descriptor wakes. The descriptor stays open until destruction.
  virtual void shutdown() = 0;
  /// Bytes that a read would give without the descriptor being readable (decrypted already).
  [[nodiscard]] virtual bool has_buffered() const { return false; }
  /// "unix pid 12 uid 0", "127.0.0.1:4242", "10.0.0.7:4242 tls"; for people.
  [[nodiscard]] virtual std::string peer() const = 0;
  /// Why a call answered kFailed; for people.
  [[nodiscard]] virtual std::string failure() const = 0;

  // Unix sockets only; the others cannot and say so by their answers.
  /// Sends descriptors along with the first byte of the next write. They are duplicated by the kernel.
  [[nodiscard]] virtual bool attach_descriptors(std::span<const int>) { return false; }
  /// Descriptors that came with bytes read so far, close-on-exec. At most kMaxDescriptors are kept; more are closed.
  [[nodiscard]] virtual std::vector<FileDescriptor> take_descriptors() { return {}; }
};

inline constexpr std::size_t kMaxStreamPieces = 64;
inline constexpr std::size_t kMaxDescriptors = 4;

/// Spins up to `spin` (yielding the processor between attempts) before it sleeps in poll: waking an idle processor
/// costs tens of microseconds.
struct Patience {
  Deadline deadline = Deadline::never();
  Duration spin{0};
};

/// Moves all of `pieces`, however many, waiting as needed. kMoved: done. Otherwise some bytes may have been moved.
[[nodiscard]] Flow read_all(Stream& stream, std::span<const MutableBytes> pieces, Patience patience);
[[nodiscard]] Flow write_all(Stream& stream, std::span<const Bytes> pieces, Patience patience);

}  // namespace reprise
