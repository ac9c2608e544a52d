#include "wire/messages.h"

#include <utility>

namespace reprise::wire {

static_assert(sizeof(Id) == sizeof(BlockKey));

std::span<const BlockKey> keys_of(const Chain& chain) {
  if (chain.keys() == nullptr) return {};
  // Both are 16 bytes of the same words; a key has no alignment of its own.
  return {reinterpret_cast<const BlockKey*>(chain.keys()->Data()), chain.keys()->size()};
}

bool rule_of(const Chain& chain, MatchRule& rule) {
  if (chain.rule() > Rule::MAX) return false;
  rule = {static_cast<MatchRule::Kind>(chain.rule()), chain.rule_arg()};
  return true;
}

flatbuffers::Offset<Chain> to_wire(flatbuffers::FlatBufferBuilder& builder, std::uint32_t handle, MatchRule rule,
                                   std::span<const BlockKey> keys) {
  const auto ids = builder.CreateVectorOfStructs(reinterpret_cast<const Id*>(keys.data()), keys.size());
  return CreateChain(builder, handle, static_cast<Rule>(rule.kind), rule.arg, ids);
}

Reason reason_of(std::uint8_t number) {
  return number < kReasonCount ? static_cast<Reason>(number) : Reason::kNone;
}

ErrorCode error_of(std::uint8_t number) {
  return number <= static_cast<std::uint8_t>(ErrorCode::kInternal) ? static_cast<ErrorCode>(number)
                                                                   : ErrorCode::kInternal;
}

bool fits(const OpenNamespace& message, std::size_t body_bytes) {
  std::size_t total = 0;
  const auto add = [&](const flatbuffers::String* text) { total += text != nullptr ? text->size() : 0; };
  for (const auto* text : {message.model(), message.revision(), message.dtype(), message.layout(), message.salt()}) {
    add(text);
  }
  if (message.extras() != nullptr) {
    for (const Pair* pair : *message.extras()) add(pair->name()), add(pair->value());
  }
  return total <= body_bytes;
}

NamespaceSpec spec_of(const OpenNamespace& message) {
  NamespaceSpec spec;
  spec.model = text_of(message.model());
  spec.revision = text_of(message.revision());
  spec.dtype = text_of(message.dtype());
  spec.layout = text_of(message.layout());
  spec.block_tokens = message.block_tokens();
  spec.block_bytes = message.block_bytes();
  spec.layers = IndexRange{message.first_layer(), message.layer_count()};
  spec.heads = IndexRange{message.first_head(), message.head_count()};
  if (message.salt() != nullptr) spec.salt = message.salt()->str();
  if (message.extras() != nullptr) {
    for (const Pair* pair : *message.extras()) spec.extras.emplace_back(text_of(pair->name()), text_of(pair->value()));
  }
  return spec;
}

flatbuffers::Offset<OpenNamespace> to_wire(flatbuffers::FlatBufferBuilder& builder, const NamespaceSpec& spec) {
  const IndexRange layers = spec.layers.value_or(IndexRange{});
  const IndexRange heads = spec.heads.value_or(IndexRange{});
  // Not as C strings: a text with a NUL inside would be cut, and the namespace be another one over there.
  const auto text = [&](const std::string& value) { return builder.CreateString(value); };
  std::vector<flatbuffers::Offset<Pair>> extras;
  for (const auto& [name, value] : spec.extras) {
    const auto name_text = text(name);
    const auto value_text = text(value);
    extras.push_back(CreatePair(builder, name_text, value_text));
  }
  const auto model = text(spec.model);
  const auto revision = text(spec.revision);
  const auto dtype = text(spec.dtype);
  const auto layout = text(spec.layout);
  const auto salt = spec.salt ? text(*spec.salt) : flatbuffers::Offset<flatbuffers::String>();
  return CreateOpenNamespace(builder, model, revision, dtype, layout, spec.block_tokens, spec.block_bytes, layers.first,
                             layers.count, heads.first, heads.count, salt, builder.CreateVector(extras));
}

namespace {

// Every counter in the order of the wire; new ones go to the end.
template <typename Visit>
void each_counter(auto& stats, const Visit& visit) {
  for (auto* tier : {&stats.l1, &stats.l2}) {
    visit(tier->capacity_bytes), visit(tier->used_bytes), visit(tier->blocks), visit(tier->hits);
    visit(tier->read_bytes), visit(tier->writes), visit(tier->write_bytes), visit(tier->evictions);
    visit(tier->corrupt), visit(tier->foreign), visit(tier->errors);
  }
  visit(stats.requested), visit(stats.declined), visit(stats.leases), visit(stats.leased_blocks);
  visit(stats.leases_expired), visit(stats.touches_dropped), visit(stats.ingest_queued_bytes);
  visit(stats.ingest_dropped), visit(stats.abandoned), visit(stats.abandoned_running), visit(stats.ejections);
  visit(stats.metadata_bytes), visit(stats.fixed_bytes);
  for (auto& reason : stats.reasons) visit(reason);
}

}  // namespace

flatbuffers::Offset<Stats> to_wire(flatbuffers::FlatBufferBuilder& builder, const CacheStats& stats) {
  std::vector<std::uint64_t> values;
  each_counter(stats, [&](std::uint64_t value) { values.push_back(value); });
  const auto name = builder.CreateString(stats.l2.name);
  return CreateStats(builder, builder.CreateVector(values), name, stats.populated);
}

CacheStats stats_of(const Stats& message) {
  CacheStats stats;
  std::uint32_t next = 0;
  const std::uint32_t count = message.values() != nullptr ? message.values()->size() : 0;
  each_counter(stats, [&](std::uint64_t& value) { value = next < count ? message.values()->Get(next++) : 0; });
  stats.l1.name = "l1";
  stats.l2.name = text_of(message.l2_name());
  stats.populated = message.populated();
  return stats;
}

}  // namespace reprise::wire
