// Env whose reads and writes go through io_uring, up to 32 in flight a call. Thread-safe: every call borrows a ring
// from a pool that grows to the number of calls ever made at once.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/posix_env.h"

namespace reprise {

class UringEnv final : public PosixEnv {
 public:
  /// Fails with kConfig and the system's words when the kernel does not permit io_uring.
  [[nodiscard]] static Result<std::unique_ptr<Env>> make();

  UringEnv();
  ~UringEnv() override;
  void read(std::span<const ReadRequest> requests, const Done& done, Deadline deadline) override;
  void write(std::span<const WriteRequest> requests, const Done& done, Deadline deadline) override;

 private:
  class Ring;
  /// nullptr when no ring could be made (memory, limits): the caller goes on without.
  [[nodiscard]] std::unique_ptr<Ring> borrow();
  void give_back(std::unique_ptr<Ring> ring);

  std::mutex mutex_;
  std::vector<std::unique_ptr<Ring>>
      idle_;  // guarded by mutex_; capacity reserved, so that giving back never allocates
};

}  // namespace reprise
