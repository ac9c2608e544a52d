#include "cli/replay_report.h"

namespace reprise::cli {

// Made by CMake from replay_page.html.
extern const char kReplayPage[];

std::string replay_html(const ReplayHeader& header, std::span<const ReplayResult> results) {
  static constexpr std::string_view kPlace = "/*REPLAY_JSON*/";
  std::string data = replay_json(header, results);
  // "</script>" inside a text would end the script element, and "<!--" would change how it is read.
  for (std::size_t at = 0; (at = data.find('<', at)) != std::string::npos; at += 6) data.replace(at, 1, "\\u003c");
  std::string page(kReplayPage);
  if (const std::size_t at = page.find(kPlace); at != std::string::npos) page.replace(at, kPlace.size(), data);
  return page;
}

}  // namespace reprise::cli
