#include "reprise/namespace.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <tuple>

#include "identity/namespace_bytes.h"
#include "identity/sha256.h"

namespace reprise {
namespace {

// Generous for real names, small enough that a namespace sent over a wire stays a small message.
constexpr std::size_t kMaxModel = 4096;
constexpr std::size_t kMaxName = 256;
constexpr std::size_t kMaxExtras = 64;
constexpr std::size_t kMaxExtraValue = 4096;
constexpr std::uint32_t kMaxBlockTokens = 1U << 20;
constexpr std::uint64_t kMaxBlockBytes = 1ULL << 30;

std::unexpected<Error> wrong(std::string_view field, std::string_view what) {
  return fail(ErrorCode::kInvalid, "namespace: " + std::string(field) + " " + std::string(what));
}

Result<void> check_text(std::string_view field, std::string_view value, std::size_t max, bool may_be_empty = false) {
  if (value.empty() && !may_be_empty) return wrong(field, "is missing");
  if (value.size() > max) {
    return wrong(field, "has " + std::to_string(value.size()) + " bytes; at most " + std::to_string(max));
  }
  return {};
}

Result<void> check_number(std::string_view field, std::uint64_t value, std::uint64_t max) {
  if (value == 0) return wrong(field, "is missing");
  if (value > max) return wrong(field, "is " + std::to_string(value) + "; at most " + std::to_string(max));
  return {};
}

Result<void> check_range(std::string_view field, const std::optional<IndexRange>& range) {
  if (!range) return wrong(field, "is missing");
  if (range->count == 0) return wrong(field, "is an empty range");
  if (range->count > 0xFFFFFFFF - range->first) return wrong(field, "ends beyond 32 bits");
  return {};
}

/// REQUIRES: sorted by key.
Result<void> check_extras(const std::vector<std::pair<std::string, std::string>>& extras) {
  if (extras.size() > kMaxExtras) {
    return wrong("extras", "are " + std::to_string(extras.size()) + "; at most " + std::to_string(kMaxExtras));
  }
  for (std::size_t i = 0; i < extras.size(); ++i) {
    const auto& [key, value] = extras[i];
    if (key.empty()) return wrong("extras", "hold one without a key");
    if (i > 0 && extras[i - 1].first == key) return wrong("extra '" + key + "'", "is given twice");
    if (auto ok = check_text("key of an extra", key, kMaxName); !ok) return ok;
    if (auto ok = check_text("extra '" + key + "'", value, kMaxExtraValue, true); !ok) return ok;
  }
  return {};
}

Result<void> check(const NamespaceSpec& spec) {
  for (const auto& [field, value, max] :
       {std::tuple<const char*, const std::string&, std::size_t>{"model", spec.model, kMaxModel},
        {"revision", spec.revision, kMaxName},
        {"dtype", spec.dtype, kMaxName},
        {"layout", spec.layout, kMaxName}}) {
    if (auto ok = check_text(field, value, max); !ok) return ok;
  }
  if (auto ok = check_number("block_tokens", spec.block_tokens, kMaxBlockTokens); !ok) return ok;
  if (auto ok = check_number("block_bytes", spec.block_bytes, kMaxBlockBytes); !ok) return ok;
  if (auto ok = check_range("layers", spec.layers); !ok) return ok;
  if (auto ok = check_range("heads", spec.heads); !ok) return ok;
  if (!spec.salt) return wrong("salt", "is missing; \"\" shares with everyone");
  if (auto ok = check_text("salt", *spec.salt, kMaxName, true); !ok) return ok;
  return check_extras(spec.extras);
}

template <typename Int>
void put_number(std::string& out, Int value) {
  for (std::size_t i = 0; i < sizeof(Int); ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
}

void put_text(std::string& out, std::string_view text) {
  put_number(out, static_cast<std::uint32_t>(text.size()));
  out += text;
}

void put_range(std::string& out, const IndexRange& range) {
  put_number(out, range.first);
  put_number(out, range.count);
}

}  // namespace

std::string namespace_bytes(const NamespaceSpec& spec) {
  std::string out = "RPNS";
  put_number(out, std::uint32_t{1});  // format version
  put_text(out, spec.model);
  put_text(out, spec.revision);
  put_text(out, spec.dtype);
  put_text(out, spec.layout);
  put_number(out, spec.block_tokens);
  put_number(out, spec.block_bytes);
  put_range(out, *spec.layers);
  put_range(out, *spec.heads);
  put_text(out, *spec.salt);
  put_number(out, static_cast<std::uint32_t>(spec.extras.size()));
  for (const auto& [key, value] : spec.extras) {
    put_text(out, key);
    put_text(out, value);
  }
  return out;
}

Result<Namespace> Namespace::create(NamespaceSpec spec) {
  std::sort(spec.extras.begin(), spec.extras.end());  // std::string compares as unsigned bytes
  if (auto ok = check(spec); !ok) return std::unexpected(ok.error());
  const std::string bytes = namespace_bytes(spec);
  const Sha256Digest digest = Sha256().add(bytes.data(), bytes.size()).finish();
  NamespaceId id;
  std::memcpy(id.bytes.data(), digest.data(), id.bytes.size());
  return Namespace(std::move(spec), id);
}

}  // namespace reprise
