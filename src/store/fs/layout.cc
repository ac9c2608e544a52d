#include "store/fs/layout.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <random>

namespace reprise::fs {

std::string Layout::directory(const BlockId& id) const {
  const std::string key = id.key.hex();
  std::string path;
  path.reserve(root_.size() + 40);
  path.append(root_).append("/").append(id.ns.hex()).append("/");
  path.append(key, 0, 2).append("/").append(key, 2, 2);
  return path;
}

bool is_hex(std::string_view name, std::size_t digits) {
  return name.size() == digits &&
         std::ranges::all_of(name, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string writer_name() {
  std::array<char, 65> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  std::string name(host.data());
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  // Containers may share host name and process number.
  std::random_device device;
  const std::uint64_t random = (std::uint64_t{device()} << 32) | device();
  return name + "-" + std::to_string(::getpid()) + "-" + std::to_string(random);
}

}  // namespace reprise::fs
