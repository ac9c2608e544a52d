// `reprise put`: stores a file as the blocks of a chain.
#pragma once

#include <string>

#include "base/options.h"
#include "cli/named_chain.h"
#include "cli/services.h"

namespace reprise::cli {

struct PutArguments {
  std::string cache_url;
  std::string path = "-";  ///< "-" = standard input.
  ChainArguments chain;
};

/// Under a text (`chain.prompt`) the file is framed (file_block.h), may have any length, and replaces what the text
/// named before. Under token ids the blocks are the file's bytes as they are, the last filled up with zeros; blocks
/// that are present stay. kOk when everything is in the cache, kProblem when some block is not, kUsage else.
[[nodiscard]] int put_command(const PutArguments& arguments, const ResolvedOptions& options, const Services& services,
                              Terminal& terminal, const StopFlag& stop);

}  // namespace reprise::cli
