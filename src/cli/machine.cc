#include "cli/machine.h"

#include <linux/io_uring.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

namespace reprise::cli {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<std::uint64_t> number_in(const std::string& path) {
  std::istringstream line(first_line(path));
  std::uint64_t value = 0;
  if (line >> value) return value;
  return std::nullopt;
}

std::uint64_t meminfo(const std::string& name) {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::uint64_t kib = 0;
  std::string unit;
  while (file >> key >> kib) {
    std::getline(file, unit);
    if (key == name + ":") return kib * 1024;
  }
  return 0;
}

// A control group may allow less than the machine has (version 2, then version 1).
void apply_memory_limit(MachineFacts& facts) {
  static constexpr const char* kFiles[][2] = {
      {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}};
  for (const auto& [limit_file, used_file] : kFiles) {
    const auto limit = number_in(limit_file);
    if (!limit || *limit >= facts.memory_bytes) continue;
    const std::uint64_t used = number_in(used_file).value_or(0);
    facts.memory_bytes = *limit;
    facts.available_bytes = std::min(facts.available_bytes, *limit - std::min(used, *limit));
  }
}

// The word in brackets: "always [madvise] never".
std::string chosen(const std::string& path) {
  const std::string line = first_line(path);
  const std::size_t open = line.find('[');
  const std::size_t close = line.find(']');
  if (open == std::string::npos || close == std::string::npos || close < open) return "";
  return line.substr(open + 1, close - open - 1);
}

void probe_io_uring(MachineFacts& facts) {
  io_uring_params params{};
  const long fd = syscall(__NR_io_uring_setup, 2, &params);
  facts.io_uring = fd >= 0;
  if (fd >= 0) {
    close(static_cast<int>(fd));
  } else {
    facts.io_uring_refusal = std::strerror(errno);
  }
}

}  // namespace

MachineFacts probe_machine(std::string kernel) {
  MachineFacts facts;
  facts.memory_bytes = meminfo("MemTotal");
  facts.available_bytes = meminfo("MemAvailable");
  apply_memory_limit(facts);
  facts.cpus = std::thread::hardware_concurrency();
  facts.kernel = std::move(kernel);
  probe_io_uring(facts);
  facts.huge_pages = chosen("/sys/kernel/mm/transparent_hugepage/enabled");
  facts.shared_huge_pages = chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) facts.memlock_bytes = limit.rlim_cur;
  return facts;
}

DiskFacts probe_disk(const std::string& path) {
  DiskFacts facts;
  std::error_code ignored;
  std::filesystem::path at = std::filesystem::absolute(path, ignored);
  while (!std::filesystem::exists(at, ignored) && at.has_parent_path() && at != at.parent_path()) at = at.parent_path();
  facts.existing = at.string();
  facts.is_directory = std::filesystem::is_directory(at, ignored);
  facts.writable = access(facts.existing.c_str(), W_OK | X_OK) == 0;
  struct statvfs disk{};
  if (statvfs(facts.existing.c_str(), &disk) == 0) facts.free_bytes = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  return facts;
}

}  // namespace reprise::cli
