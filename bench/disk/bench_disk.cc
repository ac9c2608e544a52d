// The disk store beside fio on the same file system: same sizes, same fill, same depth, direct, one thread each.
//
//   bench_disk [--dir DIRECTORY] [--quick] [--json FILE] ...
//
// One batch of the store is DEPTH blocks and ends before the next begins, while fio keeps DEPTH in flight all the time:
// that drain is part of what is measured. Every read is verified; fio verifies nothing.
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "bench/disk/fio.h"
#include "bench/disk/store_load.h"
#include "bench/harness/harness.h"

namespace {

using namespace reprise;         // NOLINT(google-build-using-namespace)
using namespace reprise::bench;  // NOLINT(google-build-using-namespace)

constexpr std::uint64_t kFile = 64 << 20;

struct Scale {
  std::uint64_t data;  // resident bytes that are read from, and bytes of one writing run
  std::uint64_t read;  // bytes of one reading run
};

Result<Sample> sample(const Result<double>& value) {
  if (!value) return std::unexpected(value.error());
  return Sample{.value = *value};
}

void add_case(Harness& harness, const std::string& dir, std::size_t block, bool reads, Scale scale) {
  const unsigned depth = block <= (64 << 10) ? 32 : 16;
  const std::string size =
      block >= (1 << 20) ? std::to_string(block >> 20) + " MiB" : std::to_string(block >> 10) + " KiB";
  // Shared by the closures of this case; the harness keeps those.
  const auto load = std::make_shared<StoreLoad>(dir + "/store", block, depth);
  const auto files = static_cast<unsigned>(scale.data / kFile);
  const FioRun fio{reads ? "read.fio" : "write.fio", dir + "/fio", block, depth, files,
                   reads ? scale.read : scale.data};
  Case c;
  c.name = std::string(reads ? "read " : "write ") + size + " x" + std::to_string(depth);
  c.unit = "MB/s";
  c.limit = [fio] { return sample(run_fio(fio)); };
  c.prepare = [=]() -> Result<void> {
    std::error_code error;
    std::filesystem::create_directories(fio.directory, error);
    if (!reads) return {};
    if (const auto laid_out = run_fio(fio); !laid_out) return std::unexpected(laid_out.error());
    return load->fill(scale.data);
  };
  c.ours = [=] { return sample(reads ? load->read(scale.read) : load->write(scale.data)); };
  c.cleanup = [=] {
    load->clear();
    std::error_code ignored;
    std::filesystem::remove_all(fio.directory, ignored);
  };
  if (reads) {
    c.goal = Goal::ratio_at_least(block >= (256 << 10) ? 0.9 : 0.6);
  } else if (block >= (256 << 10)) {
    c.goal = Goal::ratio_at_least(0.85);
  }
  harness.add(std::move(c));
}

}  // namespace

int main(int argc, char** argv) {
  std::string dir = "/var/tmp";
  const auto options = parse_options("disk", argc, argv, {{"--dir", "a directory on the disk to measure", &dir}});
  if (!options) return usage_error(options.error());
  dir += "/reprise-bench-disk-" + std::to_string(::getpid());
  const Scale scale = options->quick ? Scale{64 << 20, 16 << 20} : Scale{512 << 20, 256 << 20};
  Harness harness("disk", *options);
  for (const std::size_t block : {32u << 10, 256u << 10, 1u << 20, 4u << 20}) {
    add_case(harness, dir, block, /*reads=*/true, scale);
    add_case(harness, dir, block, /*reads=*/false, scale);
  }
  harness.note("file system", dir);
  const int status = harness.run();
  std::error_code ignored;
  std::filesystem::remove_all(dir, ignored);
  return status;
}
