// `reprise explain`: where a block is, who reads it, and why its last copy went, as the admin page of a server tells.
#pragma once

#include <string>

#include "cli/services.h"

namespace reprise::cli {

struct ExplainArguments {
  std::string key;  ///< 32 hexadecimal digits, in any case.
  std::string admin = "http://127.0.0.1:9601";
  std::string token_file;  ///< "" = no token.
  bool json = false;       ///< Print the server's answer as it is.
};

/// kOk when some tenant knows the block, kProblem when none does, kUsage when the page could not be asked.
[[nodiscard]] int explain_command(const ExplainArguments& arguments, const Services& services, Terminal& terminal);

/// The readable form of an answer: a JSON array of copies, or an object that holds one. Fails with kInvalid when
/// `body` is neither.
struct Explained {
  std::string text;
  std::size_t copies = 0;
};
[[nodiscard]] Result<Explained> explain_text(const std::string& body);

}  // namespace reprise::cli
