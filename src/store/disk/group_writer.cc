#include "store/disk/group_writer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <vector>

namespace reprise::disk {
namespace {

// Large enough for the device, small enough that one round keeps many in flight.
constexpr std::uint64_t kMinRequestBytes = 256 << 10;
constexpr std::uint64_t kMaxRequestBytes = 1 << 20;
constexpr std::uint64_t kRequestsARound = 16;
constexpr std::uint64_t kMaxGroupBytes = 8 << 20;
constexpr std::uint64_t kMaxRoundBytes = 32 << 20;

bool in_place(const Incoming& in, bool direct) {
  return !direct || page_aligned(in.payload.data());
}

/// Bytes of a payload that go through a buffer: all of it, the part of the last page, or none.
std::uint64_t staged_bytes(const Incoming& in, bool direct) {
  if (!in_place(in, direct)) return payload_extent(in.payload.size());
  return in.payload.size() % kPageBytes == 0 ? 0 : kPageBytes;
}

}  // namespace

struct GroupWriter::Group {
  std::span<Incoming> incoming;
  Extent extent;
  std::uint64_t bytes = kPageBytes;
  AlignedBuffer staging;  // header page, then what cannot be written from where it is
  std::vector<Bytes> pieces;
  IoStatus status = IoStatus::kOk;

  void lay_out();
};

/// Requests of all groups of one round, with the pieces they point to.
struct GroupWriter::Round {
  std::vector<std::vector<Bytes>> pieces;
  std::vector<WriteRequest> requests;
  std::vector<Group*> owners;
  std::uint64_t request_bytes = kMaxRequestBytes;

  void add(Group& group);
};

void GroupWriter::Group::lay_out() {
  const bool direct = extent.segment->file->direct();
  const auto first_page = static_cast<std::uint32_t>(extent.offset / kPageBytes);
  std::array<Record, kMaxGroupRecords> records;
  std::uint64_t staged = kPageBytes;
  std::uint64_t at = extent.offset + kPageBytes;
  for (std::size_t i = 0; i < incoming.size(); ++i) {
    Incoming& in = incoming[i];
    in.record.page = in.payload.empty() ? first_page : static_cast<std::uint32_t>(at / kPageBytes);
    at += payload_extent(in.payload.size());
    staged += staged_bytes(in, direct);
    records[i] = in.record;
  }
  staging = AlignedBuffer(staged);
  encode_group_header(extent.segment->tag, first_page, std::span(records).first(incoming.size()),
                      staging.span().first(kPageBytes));
  pieces.push_back(staging.span().first(kPageBytes));
  std::byte* next = staging.data() + kPageBytes;
  for (const Incoming& in : incoming) {
    const std::uint64_t through = staged_bytes(in, direct);
    const std::size_t body = in_place(in, direct) ? in.payload.size() / kPageBytes * kPageBytes : 0;
    if (body > 0) pieces.push_back(in.payload.first(body));
    if (through == 0) continue;
    const Bytes rest = in.payload.subspan(body);
    std::memcpy(next, rest.data(), rest.size());
    std::memset(next + rest.size(), 0, through - rest.size());
    pieces.push_back({next, through});
    next += through;
  }
}

void GroupWriter::Round::add(Group& group) {
  std::uint64_t offset = group.extent.offset;
  std::uint64_t size = 0;
  std::vector<Bytes> current;
  const auto close = [&] {
    if (current.empty()) return;
    pieces.push_back(std::move(current));
    requests.push_back({group.extent.segment->file.get(), offset, {}});
    owners.push_back(&group);
    offset += size;
    size = 0;
    current = {};
  };
  for (Bytes piece : group.pieces) {
    while (!piece.empty()) {
      const std::size_t n = std::min<std::uint64_t>(piece.size(), request_bytes - size);
      current.push_back(piece.first(n));
      piece = piece.subspan(n);
      size += n;
      if (size == request_bytes || current.size() == kMaxPieces) close();
    }
  }
  close();
}

GroupWriter::GroupWriter(Env& env, Catalog& catalog, SegmentLog& log, std::uint64_t segment_bytes)
    : env_(env),
      catalog_(catalog),
      log_(log),
      max_group_bytes_(std::min(kMaxGroupBytes, segment_bytes / 8)),
      max_round_bytes_(std::min(kMaxRoundBytes, segment_bytes / 2)) {}

std::size_t GroupWriter::group_size(std::span<const Incoming> incoming) const {
  std::size_t n = 1;
  std::uint64_t bytes = payload_extent(incoming[0].payload.size());
  const bool tombstones = incoming[0].payload.empty();
  while (n < incoming.size() && n < kMaxGroupRecords && incoming[n].payload.empty() == tombstones) {
    bytes += payload_extent(incoming[n].payload.size());
    if (bytes > max_group_bytes_) break;
    ++n;
  }
  return n;
}

IoStatus GroupWriter::reserve(Group& group, Deadline deadline, bool may_roll) {
  for (const Incoming& in : group.incoming) group.bytes += payload_extent(in.payload.size());
  const auto records = static_cast<std::uint32_t>(group.incoming.size());
  if (may_roll) return log_.reserve(group.bytes, records, deadline, group.extent);
  return log_.try_reserve(group.bytes, records, group.extent) ? IoStatus::kOk : IoStatus::kNoSpace;
}

void GroupWriter::write(std::span<Incoming> incoming, Deadline deadline, bool may_roll) {
  while (!incoming.empty()) {
    std::vector<Group> groups;
    std::uint64_t bytes = 0;
    while (!incoming.empty() && bytes < max_round_bytes_) {
      Group group;
      group.incoming = incoming.first(group_size(incoming));
      incoming = incoming.subspan(group.incoming.size());
      if (const IoStatus status = reserve(group, deadline, may_roll); status != IoStatus::kOk) {
        for (Incoming& in : group.incoming) in.status = status;
        continue;
      }
      bytes += group.bytes;
      groups.push_back(std::move(group));
    }
    write_round(groups, deadline);
  }
}

void GroupWriter::write_round(std::span<Group> groups, Deadline deadline) {
  Round round;
  std::uint64_t bytes = 0;
  for (const Group& group : groups) bytes += group.bytes;
  round.request_bytes = std::clamp(page_ceil(bytes / kRequestsARound), kMinRequestBytes, kMaxRequestBytes);
  for (Group& group : groups) {
    group.lay_out();
    round.add(group);
  }
  for (std::size_t i = 0; i < round.requests.size(); ++i) round.requests[i].pieces = round.pieces[i];
  const auto done = [&](std::size_t i, IoStatus status) {
    if (status != IoStatus::kOk) round.owners[i]->status = status;
  };
  env_.write(round.requests, done, deadline);
  for (Group& group : groups) {
    if (group.status == IoStatus::kOk) publish(group);
    for (Incoming& in : group.incoming) in.status = group.status;
    log_.finish(group.extent);
  }
}

void GroupWriter::publish(Group& group) {
  std::array<Record, kMaxGroupRecords> records;
  std::size_t n = 0;
  for (Incoming& in : group.incoming) {
    if (in.moved_from != nullptr) {
      in.dead = !catalog_.publish_moved(group.extent.slot, in.record, *in.moved_from);
    } else {
      records[n++] = in.record;
    }
  }
  if (n > 0) catalog_.publish(group.extent.slot, std::span(records).first(n));
}

}  // namespace reprise::disk
