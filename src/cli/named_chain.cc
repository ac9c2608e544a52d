#include "cli/named_chain.h"

#include <charconv>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/options_values.h"

namespace reprise::cli {
namespace {

constexpr std::uint64_t kLargestBlock = 1ULL << 30;
constexpr std::size_t kLongestText = 64 << 10;
constexpr std::size_t kMostTokens = 16 << 20;
constexpr std::size_t kLargestTokenFile = 256 << 20;
constexpr std::uint32_t kBeyondBytes = 256;  // a token that no text holds

std::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::kConfig, std::move(message));
}

Result<std::string> token_text(const std::string& tokens) {
  if (!tokens.starts_with('@')) return tokens;
  std::ifstream file(tokens.substr(1), std::ios::binary | std::ios::ate);
  if (!file) return bad("--tokens: cannot read " + tokens.substr(1));
  const auto size = static_cast<std::uint64_t>(file.tellg());
  if (size > kLargestTokenFile) return bad("--tokens: " + tokens.substr(1) + " is larger than 256 MiB");
  file.seekg(0);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

bool is_separator(char c) {
  return c == ',' || c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '[' || c == ']';
}

Result<std::vector<std::uint32_t>> read_tokens(std::string_view text) {
  std::vector<std::uint32_t> out;
  while (true) {
    while (!text.empty() && is_separator(text.front())) text.remove_prefix(1);
    if (text.empty()) return out;
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const auto used = static_cast<std::size_t>(end - text.data());
    if (error != std::errc() || (used < text.size() && !is_separator(text[used]))) {
      return bad("--tokens: '" + std::string(text.substr(0, 20)) + "' does not begin with a token id below 2^32");
    }
    if (out.size() == kMostTokens) return bad("--tokens: more than 16777216");
    out.push_back(value);
    text.remove_prefix(used);
  }
}

}  // namespace

Result<Namespace> make_namespace(const ChainArguments& arguments) {
  const auto bytes = read_size(arguments.block_bytes);
  if (!bytes) return bad("--block-bytes: " + bytes.error().message);
  if (*bytes == 0 || *bytes > kLargestBlock) {
    return bad("--block-bytes: '" + arguments.block_bytes + "' is outside 1B to " + size_text(kLargestBlock));
  }
  NamespaceSpec spec;
  spec.model = arguments.model;
  spec.revision = arguments.revision;
  spec.dtype = arguments.dtype;
  spec.layout = arguments.layout;
  spec.block_tokens = arguments.block_tokens;
  spec.block_bytes = *bytes;
  spec.layers = IndexRange{0, arguments.layers};
  spec.heads = IndexRange{0, arguments.heads};
  spec.salt = arguments.salt;
  for (const std::string& extra : arguments.extras) {
    const std::size_t equals = extra.find('=');
    if (equals == std::string::npos || equals == 0) return bad("--extra: '" + extra + "' is not NAME=VALUE");
    spec.extras.emplace_back(extra.substr(0, equals), extra.substr(equals + 1));
  }
  auto made = Namespace::create(std::move(spec));
  if (!made) return bad("the namespace: " + made.error().message);
  return made;
}

Result<BlockNames> BlockNames::create(const ChainArguments& arguments) {
  BlockNames out;
  if (!arguments.tokens.empty()) {
    const auto text = token_text(arguments.tokens);
    if (!text) return std::unexpected(text.error());
    const auto tokens = read_tokens(*text);
    if (!tokens) return std::unexpected(tokens.error());
    auto keys = block_keys(*tokens, arguments.block_tokens);
    if (!keys) return bad("--block-tokens: " + keys.error().message);
    if (keys->empty()) {
      return bad("--tokens: " + std::to_string(tokens->size()) + " tokens are no complete block of " +
                 std::to_string(arguments.block_tokens));
    }
    out.fixed_ = true;
    out.keys_ = std::move(*keys);
    return out;
  }
  if (arguments.prompt.size() > kLongestText) return bad("--prompt: longer than 64 KiB");
  std::vector<std::uint32_t> text;
  for (const char c : arguments.prompt) text.push_back(static_cast<unsigned char>(c));
  do {
    text.push_back(kBeyondBytes);
  } while (text.size() % kTokens != 0);
  out.chain_.append(text);
  out.text_blocks_ = out.chain_.keys().size();
  return out;
}

std::span<const BlockKey> BlockNames::first(std::size_t n) {
  if (fixed_) return std::span(keys_).first(n);
  while (chain_.keys().size() < text_blocks_ + n) {
    const std::uint64_t i = chain_.keys().size() - text_blocks_;
    const std::uint32_t block[kTokens] = {kBeyondBytes, static_cast<std::uint32_t>(i),
                                          static_cast<std::uint32_t>(i >> 32), 0};
    chain_.append(block);
  }
  return std::span(chain_.keys()).subspan(text_blocks_, n);
}

}  // namespace reprise::cli
