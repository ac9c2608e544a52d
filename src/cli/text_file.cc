#include "cli/text_file.h"

#include <algorithm>
#include <fstream>
#include <ostream>

namespace reprise::cli {

Result<void> write_text(const std::string& path, const std::string& text, Terminal& terminal) {
  if (path == "-") {
    terminal.out << text << "\n";
    return {};
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text << "\n";
  file.close();
  if (!file) return fail(ErrorCode::kIo, "cannot write " + path);
  return {};
}

Result<std::string> read_first_line(const std::string& path) {
  constexpr std::size_t kLongest = 4096;
  std::ifstream file(path, std::ios::binary);
  std::string text(kLongest, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.gcount() <= 0) return fail(ErrorCode::kIo, "cannot read " + path + ", or it is empty");
  text.resize(static_cast<std::size_t>(file.gcount()));
  text.resize(std::min(text.find_first_of("\r\n"), text.size()));
  const std::size_t first = std::min(text.find_first_not_of(" \t"), text.size());
  return text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

}  // namespace reprise::cli
