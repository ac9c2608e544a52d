// Files in memory, for tests that must not depend on a disk or that want to pull the plug.
//
// Thread-safe. `lose_power` does what a power loss may do: of every page written since the last sync, either the old or
// the new bytes remain, at random; so do sizes. Directories exist implicitly once made. `set_time` turns the clock that
// files are stamped by.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"

namespace reprise::testing {

class MemoryEnv final : public Env {
 public:
  explicit MemoryEnv(std::uint64_t capacity = 1ULL << 40) : disk_(std::make_shared<Disk>()) {
    disk_->capacity = capacity;
  }

  /// The next open sees what a power loss left. Files that are open now go on with their own copy.
  void lose_power(std::uint64_t seed) {
    const std::lock_guard lock(disk_->mutex);
    std::mt19937_64 random(seed);
    for (auto& [path, node] : disk_->files) {
      auto after = std::make_shared<Node>();
      after->bytes = random() % 2 == 0 ? node->bytes : node->synced;
      for (std::size_t at = 0; at < after->bytes.size(); at += kPage) {
        const std::vector<std::byte>& from = random() % 2 == 0 ? node->bytes : node->synced;
        const std::size_t n = std::min(kPage, after->bytes.size() - at);
        for (std::size_t i = at; i < at + n; ++i) after->bytes[i] = i < from.size() ? from[i] : std::byte{0};
      }
      after->synced = after->bytes;
      node = std::move(after);
    }
    disk_->locks.clear();
  }
  /// Direct access to a file's bytes, to damage them. nullptr when there is no such file.
  std::vector<std::byte>* raw(const std::string& path) {
    const std::lock_guard lock(disk_->mutex);
    const auto found = disk_->files.find(path);
    return found == disk_->files.end() ? nullptr : &found->second->bytes;
  }

  void set_time(WallTime now) {
    const std::lock_guard lock(disk_->mutex);
    disk_->now = now;
  }
  [[nodiscard]] WallTime time() const {
    const std::lock_guard lock(disk_->mutex);
    return disk_->now;
  }

  IoResult<std::unique_ptr<File>> open(const std::string& path, OpenMode mode, Direct) override {
    const std::lock_guard lock(disk_->mutex);
    auto found = disk_->files.find(path);
    if (mode == OpenMode::kCreate) {
      if (!disk_->directories.contains(parent(path))) return missing(path);
      found = disk_->files.insert_or_assign(path, std::make_shared<Node>()).first;
      found->second->written = found->second->used = disk_->now;
    }
    if (found == disk_->files.end()) return missing(path);
    return std::make_unique<MemoryFile>(disk_, found->second, mode != OpenMode::kRead);
  }

  void read(std::span<const ReadRequest> requests, const Done& done, Deadline deadline) override {
    each(requests, done, deadline, [](const MemoryFile& file, const ReadRequest& request) {
      std::size_t at = request.offset;
      for (const MutableBytes piece : request.pieces) {
        if (at + piece.size() > file.node->bytes.size()) return IoStatus::kShort;
        std::memcpy(piece.data(), file.node->bytes.data() + at, piece.size());
        at += piece.size();
      }
      return IoStatus::kOk;
    });
  }
  void write(std::span<const WriteRequest> requests, const Done& done, Deadline deadline) override {
    each(requests, done, deadline, [this](const MemoryFile& file, const WriteRequest& request) {
      if (!file.writable) return IoStatus::kDenied;
      std::size_t at = request.offset;
      for (const Bytes piece : request.pieces) {
        if (!grow(*disk_, *file.node, at + piece.size())) return IoStatus::kNoSpace;
        std::memcpy(file.node->bytes.data() + at, piece.data(), piece.size());
        at += piece.size();
      }
      file.node->written = disk_->now;
      return IoStatus::kOk;
    });
  }

  IoResult<std::vector<std::string>> list(const std::string& directory) override {
    const std::lock_guard lock(disk_->mutex);
    if (!disk_->directories.contains(directory)) return missing(directory);
    std::vector<std::string> names;
    const std::string below = directory + "/";
    for (auto at = disk_->files.lower_bound(below); at != disk_->files.end() && at->first.starts_with(below); ++at) {
      if (parent(at->first) == directory) names.push_back(at->first.substr(below.size()));
    }
    return names;
  }
  IoResult<std::vector<std::string>> list_directories(const std::string& directory) override {
    const std::lock_guard lock(disk_->mutex);
    if (!disk_->directories.contains(directory)) return missing(directory);
    std::vector<std::string> names;
    const std::string below = directory + "/";
    for (auto at = disk_->directories.lower_bound(below); at != disk_->directories.end() && at->starts_with(below);
         ++at) {
      if (parent(*at) == directory) names.push_back(at->substr(below.size()));
    }
    return names;
  }
  IoResult<FileInfo> info(const std::string& path) override {
    const std::lock_guard lock(disk_->mutex);
    const auto found = disk_->files.find(path);
    if (found == disk_->files.end()) return missing(path);
    return FileInfo{found->second->bytes.size(), found->second->written, found->second->used};
  }
  IoResult<void> rename(const std::string& from, const std::string& to) override {
    const std::lock_guard lock(disk_->mutex);
    const auto found = disk_->files.find(from);
    if (found == disk_->files.end()) return missing(from);
    if (!disk_->directories.contains(parent(to))) return missing(to);
    auto node = std::move(found->second);
    disk_->files.erase(found);
    disk_->files.insert_or_assign(to, std::move(node));
    return {};
  }
  IoResult<void> remove(const std::string& path) override {
    const std::lock_guard lock(disk_->mutex);
    if (disk_->files.erase(path) == 0) return missing(path);
    return {};
  }
  IoResult<void> make_directory(const std::string& path) override {
    const std::lock_guard lock(disk_->mutex);
    for (std::string at = path; !at.empty(); at = parent(at)) disk_->directories.insert(at);
    return {};
  }
  IoResult<std::uint64_t> free_space(const std::string&) override {
    const std::lock_guard lock(disk_->mutex);
    return disk_->capacity - std::min(disk_->capacity, disk_->used());
  }
  IoResult<std::unique_ptr<File>> lock(const std::string& path) override {
    const std::lock_guard lock(disk_->mutex);
    if (!disk_->directories.contains(parent(path))) return missing(path);
    auto& held = disk_->locks[path];
    if (!held.expired()) return std::unexpected(IoError{IoStatus::kBusy, "lock " + path + ": held"});
    auto& node = disk_->files[path];
    if (node == nullptr) node = std::make_shared<Node>();
    auto file = std::make_unique<MemoryFile>(disk_, node, true);
    file->lock = std::make_shared<int>(0);
    held = file->lock;
    return file;
  }

 private:
  static constexpr std::size_t kPage = 4096;

  struct Node {
    std::vector<std::byte> bytes;
    std::vector<std::byte> synced;
    WallTime written;
    WallTime used;
  };
  // Shared by the Env and its open files.
  struct Disk {
    std::mutex mutex;
    std::uint64_t capacity = 0;
    WallTime now{std::chrono::hours(24 * 365 * 56)};
    std::map<std::string, std::shared_ptr<Node>> files;
    std::set<std::string> directories;
    std::map<std::string, std::weak_ptr<int>> locks;
    std::uint64_t used() const {
      std::uint64_t sum = 0;
      for (const auto& [path, node] : files) sum += node->bytes.size();
      return sum;
    }
  };

  static bool grow(Disk& disk, Node& node, std::uint64_t size) {
    if (size <= node.bytes.size()) return true;
    if (disk.used() + (size - node.bytes.size()) > disk.capacity) return false;
    node.bytes.resize(size);
    return true;
  }

  struct MemoryFile final : File {
    MemoryFile(std::shared_ptr<Disk> of, std::shared_ptr<Node> at, bool may_write)
        : disk(std::move(of)), node(std::move(at)), writable(may_write) {}
    bool direct() const override { return false; }
    IoResult<std::uint64_t> size() const override {
      const std::lock_guard lock_disk(disk->mutex);
      return node->bytes.size();
    }
    IoResult<void> truncate(std::uint64_t bytes) override {
      const std::lock_guard lock_disk(disk->mutex);
      if (!grow(*disk, *node, bytes)) return full();
      node->bytes.resize(bytes);
      return {};
    }
    IoResult<void> allocate(std::uint64_t bytes) override {
      const std::lock_guard lock_disk(disk->mutex);
      if (!grow(*disk, *node, bytes)) return full();
      return {};
    }
    IoResult<void> sync() override {
      const std::lock_guard lock_disk(disk->mutex);
      node->synced = node->bytes;
      return {};
    }
    IoResult<void> mark_used() override {
      const std::lock_guard lock_disk(disk->mutex);
      node->used = disk->now;
      return {};
    }
    static std::unexpected<IoError> full() {
      return std::unexpected(IoError{IoStatus::kNoSpace, "memory env is full"});
    }

    const std::shared_ptr<Disk> disk;
    const std::shared_ptr<Node> node;
    const bool writable;
    std::shared_ptr<int> lock;
  };

  static std::string parent(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos || slash == 0 ? "" : path.substr(0, slash);
  }
  static std::unexpected<IoError> missing(const std::string& path) {
    return std::unexpected(IoError{IoStatus::kNotFound, path + ": not found"});
  }

  template <typename Requests, typename Call>
  void each(const Requests& requests, const Done& done, Deadline deadline, Call call) {
    for (std::size_t i = 0; i < requests.size(); ++i) {
      IoStatus status = IoStatus::kTimeout;
      if (deadline.is_never() || !deadline.passed(std::chrono::steady_clock::now())) {
        const std::lock_guard lock(disk_->mutex);
        status = call(static_cast<const MemoryFile&>(*requests[i].file), requests[i]);
      }
      done(i, status);
    }
  }

  const std::shared_ptr<Disk> disk_;
};

}  // namespace reprise::testing
