#include "rpc/frame_reader.h"

#include <algorithm>
#include <cstring>

namespace reprise {
namespace {

constexpr std::size_t kFirstBody = 64 << 10;

FrameReader::Step step_of(Flow flow) {
  switch (flow) {
    case Flow::kWantRead: return FrameReader::Step::kWantRead;
    case Flow::kWantWrite: return FrameReader::Step::kWantWrite;
    case Flow::kClosed: return FrameReader::Step::kClosed;
    default: return FrameReader::Step::kFailed;
  }
}

}  // namespace

std::size_t FrameReader::take(MutableBytes into) {
  const std::size_t count = std::min(into.size(), filled_ - unread_);
  if (count == 0) return 0;
  std::memcpy(into.data(), buffer_.get() + unread_, count);
  unread_ += count;
  return count;
}

Moved FrameReader::fill(Stream& stream) {
  if (!buffer_) buffer_ = std::make_unique_for_overwrite<std::byte[]>(kBufferBytes);
  const MutableBytes all(buffer_.get(), kBufferBytes);
  const Moved moved = stream.read(std::span(&all, 1));
  unread_ = 0;
  filled_ = moved.flow == Flow::kMoved ? moved.bytes : 0;
  received_ += filled_;
  return moved;
}

void FrameReader::rest() {
  if (unread_ == filled_) buffer_.reset(), unread_ = filled_ = 0;
  if (!inside()) body_ = {};
}

FrameReader::Step FrameReader::end_header() {
  const wire::Decoded decoded = wire::decode_header(header_bytes_, max_body_, wire::kMaxPayload);
  header_ = decoded.header;
  switch (decoded.fault) {
    case wire::FrameFault::kNone: break;
    case wire::FrameFault::kForeign: fault_ = Fault::kForeign; return Step::kOutOfStep;
    case wire::FrameFault::kVersionUnknown: fault_ = Fault::kVersion; return Step::kOutOfStep;
    case wire::FrameFault::kTooLong: fault_ = Fault::kTooLong; return Step::kOutOfStep;
  }
  stage_ = Stage::kBody;
  body_have_ = 0;
  return Step::kFrame;
}

void FrameReader::grow_body() {
  const std::size_t have = body_.size() * 8;
  if (body_have_ < have || have >= header_.body_bytes) return;
  const std::size_t want = std::min<std::size_t>(header_.body_bytes, std::max(kFirstBody, have * 2));
  body_.resize((want + 7) / 8);
}

FrameReader::Step FrameReader::read_payload(Stream& stream) {
  while (payload_left_ > 0) {
    MutableBytes into = sink_->next();
    if (into.empty()) return Step::kSinkFull;
    into = into.first(std::min<std::uint64_t>(into.size(), payload_left_));
    std::size_t count = take(into);
    if (count == 0) {
      const Moved moved = stream.read(std::span(&into, 1));
      if (moved.flow != Flow::kMoved) return step_of(moved.flow);
      count = moved.bytes;
      received_ += count;
    }
    payload_left_ -= count;
    sink_->arrived(count);
  }
  stage_ = Stage::kHeader;
  header_have_ = 0;
  sink_ = nullptr;
  return Step::kPayloadDone;
}

FrameReader::Step FrameReader::advance(Stream& stream) {
  if (fault_ != Fault::kNone) return Step::kOutOfStep;
  if (stage_ == Stage::kReady) {
    payload_left_ = header_.payload_bytes;
    if (payload_left_ > 0 && sink_ == nullptr) {
      fault_ = Fault::kPayload;  // its bytes would be taken for the next frame
      return Step::kOutOfStep;
    }
    stage_ = payload_left_ > 0 ? Stage::kPayload : Stage::kHeader;
    header_have_ = 0;
  }
  if (stage_ == Stage::kPayload) return read_payload(stream);
  for (;;) {
    if (stage_ == Stage::kHeader) {
      header_have_ += take(MutableBytes(header_bytes_).subspan(header_have_));
      if (header_have_ == wire::kHeaderBytes) {
        if (const Step step = end_header(); step != Step::kFrame) return step;
      }
    }
    if (stage_ == Stage::kBody) {
      for (;;) {
        grow_body();
        const std::size_t room = std::min<std::size_t>(body_.size() * 8, header_.body_bytes);
        const std::size_t count = take({reinterpret_cast<std::byte*>(body_.data()) + body_have_, room - body_have_});
        body_have_ += count;
        if (count == 0 || body_have_ == header_.body_bytes) break;
      }
      if (body_have_ == header_.body_bytes) {
        if (!wire::checksum_holds(header_bytes_, body())) {
          fault_ = Fault::kChecksum;
          return Step::kOutOfStep;
        }
        stage_ = Stage::kReady;
        return Step::kFrame;
      }
    }
    const Moved moved = fill(stream);
    if (moved.flow != Flow::kMoved) return step_of(moved.flow);
  }
}

}  // namespace reprise
