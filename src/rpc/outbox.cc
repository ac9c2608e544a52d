#include "rpc/outbox.h"

#include <array>
#include <utility>

namespace reprise {
namespace {

std::size_t size_of(const Outgoing& frame) {
  std::size_t size = frame.header.size() + frame.body.size();
  for (const Bytes piece : frame.payload) size += piece.size();
  return size;
}

}  // namespace

void Outbox::push(Outgoing frame) {
  bytes_ += frame.header.size() + frame.body.size();
  payloads_ += frame.payload.empty() ? 0 : 1;
  frames_.push_back(std::move(frame));
}

void Outbox::consume(std::size_t count) {
  sent_ += count;
  front_sent_ += count;
  while (!frames_.empty()) {
    const Outgoing& front = frames_.front();
    const std::size_t size = size_of(front);
    if (front_sent_ < size) return;
    front_sent_ -= size;
    bytes_ -= front.header.size() + front.body.size();
    payloads_ -= front.payload.empty() ? 0 : 1;
    frames_.pop_front();
  }
}

Flow Outbox::flush(Stream& stream, Duration lease_ttl, std::uint64_t most) {
  const std::uint64_t before = sent_;
  while (!frames_.empty()) {
    if (sent_ - before >= most) return Flow::kWantWrite;
    std::array<Bytes, kMaxStreamPieces> pieces;
    std::size_t count = 0;
    std::size_t skip = front_sent_;
    const auto add = [&](Bytes piece) {
      if (count == pieces.size()) return;
      if (skip >= piece.size()) {
        skip -= piece.size();
        return;
      }
      pieces[count++] = piece.subspan(std::exchange(skip, 0));
    };
    for (Outgoing& frame : frames_) {
      if (count == pieces.size()) break;
      // Descriptors travel with the first byte of a write, so their frame starts one.
      if (!frame.descriptors.empty()) {
        if (count > 0) break;
        if (front_sent_ == 0 && !stream.attach_descriptors(std::exchange(frame.descriptors, {}))) return Flow::kFailed;
      }
      if (!frame.lease.empty() && !frame.lease.renew(lease_ttl)) return Flow::kFailed;
      add(frame.header);
      add(frame.body);
      for (const Bytes piece : frame.payload) add(piece);
    }
    const Moved moved = stream.write(std::span(pieces).first(count));
    if (moved.flow != Flow::kMoved) return moved.flow;
    consume(moved.bytes);
  }
  return Flow::kMoved;
}

}  // namespace reprise
