#include "cli/explain_command.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "base/options_values.h"
#include "cli/text_file.h"
#include "cli/text_table.h"

namespace reprise::cli {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kKeyDigits = 32;

// The answer's array; nullptr if there is none.
const Json* array_in(const Json& answer) {
  if (answer.is_array()) return &answer;
  if (!answer.is_object()) return nullptr;
  const auto found = std::find_if(answer.begin(), answer.end(), [](const Json& each) { return each.is_array(); });
  return found == answer.end() ? nullptr : &*found;
}

std::string text_of(const Json& entry, const char* name) {
  const auto found = entry.find(name);
  if (found == entry.end() || found->is_null()) return "";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::optional<double> number_of(const Json& entry, const char* name) {
  const auto found = entry.find(name);
  if (found == entry.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

// "12 s", "3 min 20 s", "2 h 5 min".
std::string span_text(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::clamp(seconds, 0.0, 1e15));
  const std::uint64_t minutes = whole / 60;
  if (minutes == 0) return std::to_string(whole) + " s";
  if (minutes < 60) return std::to_string(minutes) + " min " + std::to_string(whole % 60) + " s";
  return with_commas(minutes / 60) + " h " + std::to_string(minutes % 60) + " min";
}

std::string list_of(const Json& entry, const char* name) {
  std::string out;
  const auto found = entry.find(name);
  if (found == entry.end() || !found->is_array()) return out;
  for (const Json& each : *found) {
    out += out.empty() ? "" : ", ";
    out += each.is_string() ? each.get<std::string>() : each.dump();
  }
  return out;
}

std::string copy_text(const Json& entry) {
  const auto row = [](const char* what, const std::string& value) {
    return value.empty() ? std::string() : std::string("  ") + what + value + "\n";
  };
  std::string where = text_of(entry, "where");
  if (const auto bytes = number_of(entry, "bytes"); bytes && *bytes > 0) where += ", " + approximate_size(*bytes);
  if (const auto age = number_of(entry, "age_seconds")) where += ", for " + span_text(*age);
  std::string departed = text_of(entry, "last_departure");
  if (const auto ago = number_of(entry, "departed_seconds"); ago && !departed.empty()) {
    departed += ", " + span_text(*ago) + " ago";
  }
  std::string out = "tenant " + text_of(entry, "tenant") + ", namespace " + text_of(entry, "namespace") + "\n";
  out += row("where         ", where);
  out += row("hits          ", text_of(entry, "hits"));
  out += row("readers now   ", text_of(entry, "readers"));
  out += row("leased by     ", list_of(entry, "holders"));
  out += row("last copy left ", departed);
  return out;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool is_key(const std::string& text) {
  return text.size() == kKeyDigits &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c) != 0; });
}

int refuse(Terminal& terminal, const std::string& what) {
  terminal.err << "reprise explain: " << what << "\n";
  return kUsage;
}

// What to do about an answer that is no success.
std::string status_text(const HttpAnswer& answer, const std::string& admin) {
  if (answer.status == 401 || answer.status == 403) {
    return admin + " wants a token: give --token-file the file that the server's --admin-token-file names";
  }
  const std::string said = answer.body.substr(0, std::min<std::size_t>(answer.body.find('\n'), 200));
  if (answer.status == 404) return admin + " has no /v1/explain: is that the server's --listen-admin address?";
  return admin + " answered " + std::to_string(answer.status) + (said.empty() ? "" : ": " + said);
}

}  // namespace

Result<Explained> explain_text(const std::string& body) {
  const Json answer = Json::parse(body, nullptr, false);
  const Json* copies = array_in(answer);
  if (copies == nullptr) return fail(ErrorCode::kInvalid, "the answer is no list of copies");
  Explained out;
  for (const Json& entry : *copies) {
    if (!entry.is_object()) return fail(ErrorCode::kInvalid, "the answer's list holds something that is no copy");
    out.text += (out.text.empty() ? "" : "\n") + copy_text(entry);
    ++out.copies;
  }
  return out;
}

int explain_command(const ExplainArguments& arguments, const Services& services, Terminal& terminal) {
  if (!is_key(arguments.key)) {
    return refuse(terminal,
                  "'" + arguments.key + "' is not a block key: 32 hexadecimal digits, as 'reprise put' prints");
  }
  std::string token;
  if (!arguments.token_file.empty()) {
    auto read = read_first_line(arguments.token_file);
    if (!read) return refuse(terminal, "--token-file: " + read.error().message);
    token = std::move(*read);
  }
  std::string admin = arguments.admin;
  while (admin.ends_with('/')) admin.pop_back();
  if (admin.find("://") == std::string::npos) admin = "http://" + admin;
  const auto answer = services.http_get(admin + "/v1/explain?key=" + lower(arguments.key), token);
  if (!answer) {
    return refuse(terminal,
                  answer.error().message + " (does the server run with --listen-admin, and is --admin that?)");
  }
  if (answer->status != 200) return refuse(terminal, status_text(*answer, admin));
  const auto explained = explain_text(answer->body);
  if (!explained) return refuse(terminal, admin + ": " + explained.error().message);
  if (arguments.json) {
    terminal.out << answer->body << (answer->body.ends_with('\n') ? "" : "\n");
  } else if (explained->copies > 0) {
    terminal.out << explained->text;
  } else {
    terminal.out << "No tenant has the block, and nothing is remembered of it: it was never here, or left long ago.\n";
  }
  return explained->copies > 0 ? kOk : kProblem;
}

}  // namespace reprise::cli
