// Where things are under the root of an `fs:` store (docs/disk-format.md, "A directory of blocks"). Pure functions over
// names; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "reprise/store.h"

namespace reprise::fs {

inline constexpr int kSlots = 256;  ///< First-level directories of a namespace.
inline constexpr std::string_view kMarkerText = "reprise blocks, version 1\n";

class Layout {
 public:
  explicit Layout(std::string root) : root_(std::move(root)) {}

  [[nodiscard]] const std::string& root() const { return root_; }
  /// The file that says what the root is; without it the root is not there (an unmounted file system, say).
  [[nodiscard]] std::string marker() const { return root_ + "/REPRISE"; }
  [[nodiscard]] std::string temporaries() const { return root_ + "/tmp"; }
  /// The directory that holds the block's file.
  [[nodiscard]] std::string directory(const BlockId& id) const;
  [[nodiscard]] std::string file(const BlockId& id) const { return directory(id) + "/" + id.key.hex(); }

 private:
  const std::string root_;
};

/// Which of kSlots first-level directories the block is in.
[[nodiscard]] inline int slot_of(const BlockId& id) {
  return id.key.bytes[0];
}
/// Whether a name is `digits` lower-case hexadecimal digits: all that this store ever counts or removes.
[[nodiscard]] bool is_hex(std::string_view name, std::size_t digits);
/// A prefix for temporary files that no other writer has, on this host or on another: "host-pid-random".
[[nodiscard]] std::string writer_name();

}  // namespace reprise::fs
