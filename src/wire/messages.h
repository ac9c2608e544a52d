// Bodies: from bytes to verified FlatBuffers tables and back, and the pieces that several messages share.
//
// Nothing in a body is looked at before FlatBuffers' verifier has been over it. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "reprise/chain.h"
#include "reprise/keys.h"
#include "reprise/stats.h"
#include "reprise/status.h"
#include "wire/protocol_generated.h"

namespace reprise::wire {

namespace detail {

// The verifier of FlatBuffers 2 sees to the ends of vectors, and to the alignment of everything but their elements.
template <typename T>
[[nodiscard]] bool aligned(const flatbuffers::Vector<T>* vector) {
  return vector == nullptr || vector->size() == 0 || reinterpret_cast<std::uintptr_t>(vector->Data()) % 8 == 0;
}
[[nodiscard]] bool vectors_aligned(const auto& /*no vector of 8-byte elements, or only keys: see keys_of*/) {
  return true;
}
[[nodiscard]] inline bool vectors_aligned(const LeaseIds& message) {
  return aligned(message.leases());
}
[[nodiscard]] inline bool vectors_aligned(const Leased& message) {
  return aligned(message.blocks());
}
[[nodiscard]] inline bool vectors_aligned(const Reserved& message) {
  return aligned(message.places());
}
[[nodiscard]] inline bool vectors_aligned(const Got& message) {
  return aligned(message.checksums());
}
[[nodiscard]] inline bool vectors_aligned(const Put& message) {
  return aligned(message.checksums());
}
[[nodiscard]] inline bool vectors_aligned(const Stats& message) {
  return aligned(message.values());
}

}  // namespace detail

/// The body as a table of type T, or nullptr when it is none. Valid as long as the bytes; `body` is 8-aligned.
template <typename T>
[[nodiscard]] const T* read_body(Bytes body) {
  flatbuffers::Verifier verifier(reinterpret_cast<const std::uint8_t*>(body.data()), body.size(), /*max_depth=*/8,
                                 /*max_tables=*/8192);
  if (!verifier.VerifyBuffer<T>(nullptr)) return nullptr;
  const T* message = flatbuffers::GetRoot<T>(body.data());
  return detail::vectors_aligned(*message) ? message : nullptr;
}

/// The finished builder's bytes.
[[nodiscard]] inline Bytes body_of(const flatbuffers::FlatBufferBuilder& builder) {
  return std::as_bytes(std::span(builder.GetBufferPointer(), builder.GetSize()));
}

[[nodiscard]] inline std::string text_of(const flatbuffers::String* text) {
  return text ? text->str() : std::string();
}
[[nodiscard]] inline Bytes bytes_of(const flatbuffers::Vector<std::uint8_t>* bytes) {
  return bytes ? std::as_bytes(std::span(bytes->data(), bytes->size())) : Bytes();
}

template <typename Tag>
[[nodiscard]] Id to_wire(const Id128<Tag>& id) {
  return {id.word(0), id.word(1)};
}
template <typename T>
[[nodiscard]] T from_wire(const Id& id) {
  return T::from_words(id.w0(), id.w1());
}

/// A chain's keys, in place.
[[nodiscard]] std::span<const BlockKey> keys_of(const Chain& chain);
/// False when the rule is none that this version knows.
[[nodiscard]] bool rule_of(const Chain& chain, MatchRule& rule);
[[nodiscard]] flatbuffers::Offset<Chain> to_wire(flatbuffers::FlatBufferBuilder& builder, std::uint32_t handle,
                                                 MatchRule rule, std::span<const BlockKey> keys);

/// kNone for a number this version does not know.
[[nodiscard]] Reason reason_of(std::uint8_t number);
[[nodiscard]] ErrorCode error_of(std::uint8_t number);

/// Whether the message's texts, written out, are no longer than the body they came in: FlatBuffers lets thousands of
/// entries share one text, and spec_of copies each.
[[nodiscard]] bool fits(const OpenNamespace& message, std::size_t body_bytes);
[[nodiscard]] NamespaceSpec spec_of(const OpenNamespace& message);
[[nodiscard]] flatbuffers::Offset<OpenNamespace> to_wire(flatbuffers::FlatBufferBuilder& builder,
                                                         const NamespaceSpec& spec);

[[nodiscard]] flatbuffers::Offset<Stats> to_wire(flatbuffers::FlatBufferBuilder& builder, const CacheStats& stats);
[[nodiscard]] CacheStats stats_of(const Stats& message);

}  // namespace reprise::wire
