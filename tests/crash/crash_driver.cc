// Puts blocks into a disk store until it is killed, and says on stdout what it may be held to.
//
//   crash_driver URL FIRST THREADS BYTES [COUNT]
//
// Each thread t writes blocks FIRST + t, FIRST + t + THREADS, ... one small batch at a time, and prints "w N" for every
// block whose write returned kNone and "e N" for each it erased (before: "x N"); lines are written whole. Ends after
// COUNT blocks, or never.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "store/disk/disk_store.h"
#include "testing/blocks.h"

namespace {

using namespace reprise;           // NOLINT(google-build-using-namespace)
using namespace reprise::testing;  // NOLINT(google-build-using-namespace)

void say(const std::string& lines) {
  // One write call: a pipe takes up to 4 KiB whole or not at all.
  if (::write(STDOUT_FILENO, lines.data(), lines.size()) < 0) std::_Exit(3);
}

void put_until_killed(Store& store, std::uint64_t first, std::uint64_t step, std::size_t bytes, std::uint64_t end) {
  constexpr std::uint64_t kBatch = 4;
  for (std::uint64_t n = first; n < end;) {
    std::vector<AlignedBuffer> payloads;
    std::vector<WriteOp> ops;
    std::vector<std::uint64_t> numbers;
    for (std::uint64_t i = 0; i < kBatch && n < end; ++i, n += step) {
      payloads.push_back(block_payload(n, bytes));
      const Bytes payload = payloads.back().span().first(bytes);
      ops.push_back({block_id(n), payload, checksum(payload)});
      numbers.push_back(n);
    }
    store.write(ops, Deadline::never());
    std::string lines;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      if (ops[i].result == Reason::kNone) lines += "w " + std::to_string(numbers[i]) + "\n";
    }
    say(lines);
    if (numbers.front() % 7 != 0) continue;
    const std::string number = std::to_string(numbers.front());
    say("x " + number + "\n");
    if (store.erase(std::span(&ops.front().id, 1), Deadline::never())) say("e " + number + "\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  auto store = DiskStore::open(std::string_view(argv[1]));
  if (!store) {
    std::fprintf(stderr, "%s\n", store.error().message.c_str());
    return 1;
  }
  const std::uint64_t first = std::strtoull(argv[2], nullptr, 10);
  const std::uint64_t threads = std::strtoull(argv[3], nullptr, 10);
  const std::size_t bytes = std::strtoull(argv[4], nullptr, 10);
  const std::uint64_t end = argc > 5 ? first + std::strtoull(argv[5], nullptr, 10) : ~0ULL;
  say("o\n");
  std::vector<std::thread> writers;
  for (std::uint64_t t = 0; t < threads; ++t) {
    writers.emplace_back([&, t] { put_until_killed(**store, first + t, threads, bytes, end); });
  }
  for (std::thread& writer : writers) writer.join();
  return 0;
}
