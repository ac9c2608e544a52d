// The answers of /v1/: snapshots of a server as JSON texts. docs/operations.md describes them.
//
// Pure functions. Fields that end in _seconds and _bytes are that; all others count. Text from outside (what clients
// call themselves) that is no UTF-8 is replaced, so that the answer always parses.
#pragma once

#include <string>
#include <vector>

#include "server/view.h"

namespace reprise::admin {

[[nodiscard]] std::string stats_json(const ServerView& view);
[[nodiscard]] std::string namespaces_json(const std::vector<NamespaceView>& namespaces);
[[nodiscard]] std::string sessions_json(const std::vector<SessionView>& sessions);
[[nodiscard]] std::string explain_json(const std::vector<ExplainView>& found);
[[nodiscard]] std::string config_json(const std::vector<ServerView::ConfigEntry>& entries);
[[nodiscard]] std::string purged_json(std::uint64_t blocks);
/// {"error": text}
[[nodiscard]] std::string error_json(std::string_view text);

}  // namespace reprise::admin
