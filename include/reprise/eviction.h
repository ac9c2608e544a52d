// The seam for eviction policies: pure data structures that see chains, not single blocks.
//
// A policy holds no lock, does no I/O and has no clock of its own; the cache calls it under its policy lock, one thread
// at a time. Blocks are named by slots, dense small integers the cache assigns; a policy keeps its state in arrays
// indexed by slot. What a policy has to say (victims, blocks that became hot) it returns as values.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reprise/status.h"

namespace reprise {

/// Index of a resident block, below the number of slots the policy was last told.
using BlockSlot = std::uint32_t;
inline constexpr BlockSlot kNoSlot = 0xFFFFFFFF;

struct PolicyConfig {
  std::uint32_t slots = 0;                 ///< Slots in use are below this.
  std::uint64_t capacity_blocks = 0;       ///< Blocks expected to fit; sizes ghosts and horizons.
  std::uint64_t horizon_blocks = 131'072;  ///< Shortest learning horizon, in blocks touched.
  std::uint64_t salt = 1;                  ///< Chooses what is sampled. Same salt, same calls: same answers.
};

/// A block about to become resident.
struct NewBlock {
  BlockSlot slot = kNoSlot;
  std::uint64_t hash = 0;   ///< Of namespace and key, well mixed: the same block always brings the same hash.
  std::uint32_t bytes = 0;  ///< Payload size.
};

/// Says which blocks may be evicted now. Asked only for candidates, so it may do a little work (e.g. claim the block).
class VictimFilter {
 public:
  virtual ~VictimFilter() = default;
  virtual bool accept(BlockSlot slot) = 0;
};

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;

  /// A request found these resident blocks; root first. Appends to `hot` the blocks that became hot by it; a block is
  /// reported at most once while it is resident.
  virtual void touch(std::span<const BlockSlot> chain, std::vector<BlockSlot>& hot) = 0;

  /// `blocks` become resident as the continuation of `parents` (root first, resident, possibly empty): parents.back()
  /// precedes blocks[0], and each block precedes the next. The cache then asks for victims until it is within its
  /// capacity; a newcomer that comes back from victim() was declined. Reports hot blocks like touch.
  virtual void insert(std::span<const BlockSlot> parents, std::span<const NewBlock> blocks,
                      std::vector<BlockSlot>& hot) = 0;

  /// Removes and returns the block worth least among those `filter` accepts; nullopt if there is none. A block the
  /// filter refuses is set aside, and not offered again before restore().
  virtual std::optional<BlockSlot> victim(VictimFilter& filter) = 0;

  /// A block that was set aside may be evicted again. A no-op for any other resident block.
  virtual void restore(BlockSlot slot) = 0;

  /// The block is gone for another reason than eviction (erased, corrupt); leaves no ghost.
  virtual void remove(BlockSlot slot) = 0;

  /// More slots, more blocks expected. Never shrinks. May forget ghosts.
  virtual void grow(std::uint32_t slots, std::uint64_t capacity_blocks) = 0;

  /// True once the block was reported hot.
  [[nodiscard]] virtual bool is_hot(BlockSlot slot) const = 0;

  /// Heap bytes in use: {per block and ghosts, tables of fixed size}.
  struct Footprint {
    std::uint64_t scaling = 0;
    std::uint64_t fixed = 0;
  };
  [[nodiscard]] virtual Footprint footprint() const = 0;
};

/// Policies by name. A value: copy it, add to it, hand it to `open`.
class PolicyRegistry {
 public:
  using Factory = std::function<std::unique_ptr<EvictionPolicy>(const PolicyConfig&)>;

  /// lru, fifo, s3fifo, adaptive.
  [[nodiscard]] static PolicyRegistry with_builtins();

  /// Fails with kInvalid when the name is taken.
  [[nodiscard]] Result<void> add(std::string name, Factory factory);
  /// Fails with kConfig, listing the names there are, when there is none of this name.
  [[nodiscard]] Result<std::unique_ptr<EvictionPolicy>> make(std::string_view name, const PolicyConfig& config) const;
  [[nodiscard]] std::vector<std::string> names() const;

 private:
  std::map<std::string, Factory, std::less<>> factories_;
};

}  // namespace reprise
