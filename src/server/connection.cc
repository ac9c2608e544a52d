#include "server/connection.h"

#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

namespace reprise {
namespace {

using Steady = std::chrono::steady_clock;

// How long a thread looks for the next request before it sleeps: waking an idle processor costs as much.
constexpr auto kSpin = std::chrono::microseconds(50);
// What one connection may take of a thread before the others have their turn.
constexpr std::size_t kTurnBytes = 4 << 20;
constexpr int kTurnFrames = 64;
// Replies that wait for a slow reader; beyond it, nothing more is read from it.
constexpr std::size_t kMaxReplies = 1 << 20;
// Requests of one connection that wait for L2 at a time; beyond it they are answered busy.
constexpr std::uint32_t kMaxWaiting = 64;

std::string_view fault_text(FrameReader::Fault fault) {
  switch (fault) {
    case FrameReader::Fault::kForeign: return "this is not Reprise's protocol";
    case FrameReader::Fault::kVersion: return "a frame of a version that was not agreed upon";
    case FrameReader::Fault::kTooLong: return "a body or payload longer than the protocol allows";
    case FrameReader::Fault::kChecksum: return "a frame whose checksum does not hold";
    case FrameReader::Fault::kPayload: return "a payload where none belongs";
    case FrameReader::Fault::kNone: break;
  }
  return "out of step";
}

}  // namespace

// Feeds a payload on, as far as this turn goes.
class Connection::Budget final : public PayloadSink {
 public:
  explicit Budget(std::unique_ptr<IncomingPayload>& into) : into_(into) {}
  [[nodiscard]] MutableBytes next() override { return bytes_ < kTurnBytes ? into_->next() : MutableBytes(); }
  void arrived(std::size_t count) override {
    bytes_ += count;
    into_->arrived(count);
  }
  /// One more frame of so many bytes; false when that was the last of this turn.
  [[nodiscard]] bool frame(std::size_t body_bytes) {
    bytes_ += body_bytes;
    return ++frames_ < kTurnFrames && bytes_ < kTurnBytes;
  }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  std::unique_ptr<IncomingPayload>& into_;
  std::size_t bytes_ = 0;
  int frames_ = 0;
};

Connection::Connection(ConnectionHost& host, std::uint64_t id, std::unique_ptr<Stream> stream, bool is_unix,
                       std::string refusal)
    : host_(host),
      id_(id),
      stream_(std::move(stream)),
      is_unix_(is_unix),
      started_(Steady::now()),
      greeter_(std::in_place, host.doorkeeper, id, is_unix, std::move(refusal)),
      last_request_(started_) {}

Connection::~Connection() {
  incoming_.reset();  // gives its memory back through the session
  host_.metrics.bytes_in.fetch_add(received_.load(), std::memory_order_relaxed);
  host_.metrics.bytes_out.fetch_add(sent_.load(), std::memory_order_relaxed);
}

void Connection::start() {
  if (host_.poller.add(stream_->fd(), id_)) {
    arm();
  } else {
    end(Ending::kBroken);
  }
}

// Wakings are counted: the thread of the first one runs until it has seen to all that came meanwhile.
void Connection::on_ready() {
  if (wakings_.fetch_add(1) > 0) return;
  std::uint32_t seen = 0;
  do {
    seen = wakings_.load();
    const Turn turn = take_turn();
    if (turn == Turn::kEnded) return;  // and nobody will run it again
    arm();
  } while (wakings_.fetch_sub(seen) > seen);
}

Connection::Turn Connection::take_turn() {
  if (state_.load() == State::kDismissed) {
    if (!peer_gone()) return Turn::kWait;
    end(Ending::kPeerClosed);
  }
  if (state_.load() == State::kEnded) return Turn::kEnded;
  if (!flush()) return lost(Ending::kBroken);
  const Turn turn = serve();
  if (turn == Turn::kEnded || state_.load() == State::kEnded) return Turn::kEnded;
  inside_.store(reader_.inside(), std::memory_order_relaxed);
  // A peer that we do not read from owes us nothing.
  peer_owes_.store(turn == Turn::kWait && reader_.inside(), std::memory_order_relaxed);
  unread_ = turn == Turn::kMore;
  if (turn == Turn::kWait && !reader_.inside()) reader_.rest();
  // TLS may have had to read before it could write.
  return flush() ? turn : lost(Ending::kBroken);
}

// Reads and answers until the peer has nothing more to say (kWait), or others should have their turn (kMore).
Connection::Turn Connection::serve() {
  Budget budget(incoming_);
  if (incoming_) reader_.receive(budget);  // a payload goes on; its last turn's budget is gone
  for (;;) {
    if (state_.load() == State::kEnded) return Turn::kEnded;
    if (state_.load() == State::kDismissed || paused()) return Turn::kMore;
    const Turn turn = advance(budget);
    if (turn == Turn::kEnded) return turn;
    if (turn == Turn::kWait && !spin_for_more()) return turn;
    if (turn == Turn::kMore && !budget.frame(reader_.header().body_bytes)) return turn;
  }
}

// Closed, and not only its sending half: until then the peer may write to what it reserved.
bool Connection::peer_gone() const {
  pollfd waits{stream_->fd(), 0, 0};
  return ::poll(&waits, 1, 0) > 0 && (waits.revents & POLLHUP) != 0;
}

Connection::Turn Connection::lost(Ending ending) {
  if (!is_unix_ || peer_gone()) {
    end(ending);
  } else {
    close(ending, ErrorCode::kIo, "the connection broke");
  }
  return state_.load() == State::kEnded ? Turn::kEnded : Turn::kWait;
}

Connection::Turn Connection::advance(Budget& budget) {
  using Step = FrameReader::Step;
  const Step step = reader_.advance(*stream_);
  note_progress();
  reader_wants_write_ = step == Step::kWantWrite;
  switch (step) {
    case Step::kFrame: return on_frame(budget);
    case Step::kPayloadDone: return on_payload();
    case Step::kSinkFull: return Turn::kMore;
    case Step::kWantRead:
    case Step::kWantWrite: return Turn::kWait;
    case Step::kClosed: return lost(Ending::kPeerClosed);
    case Step::kFailed: return lost(Ending::kBroken);
    case Step::kOutOfStep: return out_of_step();
  }
  return Turn::kEnded;
}

// Worth it only where requests follow each other closely, and for as many threads as can be spared.
bool Connection::spin_for_more() {
  if (state_.load(std::memory_order_relaxed) != State::kOpen || reader_.inside()) return false;
  const TimePoint start = Steady::now();
  if (start - last_request_.load(std::memory_order_relaxed) > 20 * kSpin) return false;
  if (host_.spinning.fetch_add(1, std::memory_order_relaxed) >= host_.max_spinning) {
    host_.spinning.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  bool more = false;
  for (;;) {
    pollfd waits{stream_->fd(), POLLIN | POLLRDHUP, 0};
    more = ::poll(&waits, 1, 0) > 0;
    // Looks once more after the last yield: on a shared processor the peer had its turn meanwhile.
    if (more || Steady::now() - start >= kSpin) break;
    std::this_thread::yield();
  }
  host_.spinning.fetch_sub(1, std::memory_order_relaxed);
  return more;
}

Connection::Turn Connection::out_of_step() {
  const Error error{
      reader_.fault() == FrameReader::Fault::kVersion ? ErrorCode::kVersion : ErrorCode::kInvalid,
      std::string(fault_text(reader_.fault())),
  };
  static_cast<void>(send(failed(reader_.header().request, error, /*closing=*/true).frame));
  close(Ending::kOutOfStep, error.code, error.message);
  return state_.load() == State::kEnded ? Turn::kEnded : Turn::kWait;
}

Connection::Turn Connection::on_frame(Budget& budget) {
  const wire::FrameHeader header = reader_.header();
  if (is_unix_) static_cast<void>(stream_->take_descriptors());  // nobody asked for any: closed
  frames_in_.fetch_add(1, std::memory_order_relaxed);
  if (state_.load() == State::kGreeting) return greet();
  const TimePoint arrived = Steady::now();
  last_request_.store(arrived, std::memory_order_relaxed);
  requests_.fetch_add(1, std::memory_order_relaxed);
  if (header.payload_bytes == 0 && header.type != wire::Type::kPut) {
    carry_out(header);
    return Turn::kMore;
  }
  const Request request = request_of(header, arrived);
  const auto* spec = wire::find_message(header.type);
  if (spec == nullptr || !spec->payload) {
    incoming_ = skip_payload(failed(request, ErrorCode::kInvalid, "this message carries no payload"));
  } else if (is_unix_) {
    incoming_ = skip_payload(failed(request, ErrorCode::kInvalid, "put is for networks: here, reserve and commit"));
  } else {
    incoming_ = begin_put(*session_, request);
  }
  incoming_type_ = header.type;
  incoming_since_ = arrived;
  if (header.payload_bytes == 0) return on_payload();
  reader_.receive(budget);
  return Turn::kMore;
}

Connection::Turn Connection::on_payload() {
  Answer answer = incoming_->finish();
  incoming_.reset();
  count(incoming_type_, incoming_since_, answer);
  return send(std::move(answer.frame)) ? Turn::kMore : lost(Ending::kBroken);
}

Connection::Turn Connection::greet() {
  if (reader_.header().payload_bytes > 0) {
    close(Ending::kOutOfStep, ErrorCode::kInvalid, "a payload before the session is open");
    return Turn::kEnded;
  }
  Greeter::Outcome outcome = greeter_->take(reader_.header(), reader_.body());
  if (!outcome.refused && host_.draining.load()) {
    close(Ending::kDraining, ErrorCode::kInvalid, "the server is shutting down");
    return Turn::kEnded;
  }
  if (outcome.tenant) {
    const std::lock_guard lock(mutex_);
    session_ = std::make_shared<Session>(id_, std::move(outcome.tenant), is_unix_);
    client_ = std::move(outcome.client);
    key_id_ = std::move(outcome.key_id);
  }
  for (Outgoing& frame : outcome.frames) {
    if (!send(std::move(frame))) return lost(Ending::kBroken);
  }
  if (outcome.refused) {
    end(outcome.refused->code == ErrorCode::kDenied ? Ending::kDenied : Ending::kHandshake);
    return Turn::kEnded;
  }
  if (session_) {
    // A reload may have withdrawn the token while it was being proved, and not have seen this session.
    const std::string key_id = this->key_id();
    const auto token = key_id.empty() ? std::nullopt : host_.doorkeeper.find_token(key_id);
    if (!key_id.empty() && (!token || token->tenant.get() != &session_->tenant())) {
      close(Ending::kDenied, ErrorCode::kDenied, "the token '" + key_id + "' is no longer valid");
      return Turn::kEnded;
    }
    reader_.set_max_body(wire::kMaxBody);
    greeter_.reset();
    state_.store(State::kOpen);
  }
  return Turn::kMore;
}

Request Connection::request_of(const wire::FrameHeader& header, TimePoint arrived) {
  Request request;
  request.header = header;
  request.body = reader_.body();
  if (header.timeout_us != wire::kNoTimeout) {
    request.deadline = Deadline::at(arrived + std::chrono::microseconds(header.timeout_us));
  }
  // What gives something back is never refused.
  const auto* spec = wire::find_message(header.type);
  const bool gives_back = spec == nullptr || spec->reply == spec->type || header.type == wire::Type::kCommit ||
                          header.type == wire::Type::kPing || header.type == wire::Type::kGetStats;
  if (gives_back || header.type == wire::Type::kOpenNamespace) return request;
  if (host_.draining.load(std::memory_order_relaxed)) {
    request.refusal = Reason::kUnavailable;
  } else if (!session_->tenant().admit(arrived)) {
    request.refusal = Reason::kBusy;
  }
  return request;
}

void Connection::carry_out(const wire::FrameHeader& header) {
  const TimePoint arrived = last_request_.load(std::memory_order_relaxed);
  Request request = request_of(header, arrived);
  const Handler handler = find_handler(header.type);
  const auto* spec = wire::find_message(header.type);
  Answer answer;
  if (spec == nullptr || handler == nullptr) {
    answer =
        failed(request, ErrorCode::kInvalid,
               "message type " + std::to_string(static_cast<int>(header.type)) + " is none that this server knows");
  } else if (spec->reach != wire::Reach::kAll && is_unix_ != (spec->reach == wire::Reach::kSharedMemory)) {
    answer =
        failed(request, ErrorCode::kInvalid,
               std::string(spec->name) + (is_unix_ ? " is for networks" : " needs the Unix socket's shared memory"));
  } else {
    answer = handler(*session_, request);
  }
  if (answer.kind == Answer::Kind::kWouldWait) return carry_out_later(handler, std::move(request));
  count(header.type, arrived, answer);
  if (answer.kind != Answer::Kind::kSilent && !send(std::move(answer.frame))) lost(Ending::kBroken);
}

// The body has to be kept: the reader goes on.
void Connection::carry_out_later(Handler handler, Request request) {
  auto kept = std::make_shared<std::vector<std::uint64_t>>((request.body.size() + 7) / 8);  // a task is copied
  if (!request.body.empty()) std::memcpy(kept->data(), request.body.data(), request.body.size());
  request.body = {reinterpret_cast<const std::byte*>(kept->data()), request.body.size()};
  const TimePoint arrived = last_request_.load(std::memory_order_relaxed);
  waiting_.fetch_add(1);
  const auto task = [self = shared_from_this(), session = session_, kept, handler, request, arrived] {
    if (self->state_.load() == State::kOpen) {  // else nobody waits for it any more
      Request again = request;
      again.may_wait = true;
      Answer answer = handler(*session, again);
      self->count(request.header.type, arrived, answer);
      if (answer.kind == Answer::Kind::kSilent || self->send(std::move(answer.frame))) {
        self->arm();
      } else {
        self->lost(Ending::kBroken);
      }
    }
    self->waiting_.fetch_sub(1);
  };
  if (waiting_.load() <= kMaxWaiting && host_.waiting.submit(request.body.size(), task)) return;
  waiting_.fetch_sub(1);
  request.refusal = Reason::kBusy;
  Answer answer = handler(*session_, request);
  count(request.header.type, arrived, answer);
  if (!send(std::move(answer.frame))) lost(Ending::kBroken);
}

void Connection::count(wire::Type type, TimePoint arrived, const Answer& answer) {
  const auto* spec = wire::find_message(type);
  host_.metrics.of(spec != nullptr ? type : wire::Type{ServerMetrics::kTypes - 1})
      .count(Steady::now() - arrived, answer.kind == Answer::Kind::kFailed);
}

void Connection::note_progress() {
  received_.store(reader_.received(), std::memory_order_relaxed);
}

bool Connection::send(Outgoing frame) {
  const std::lock_guard lock(mutex_);
  if (state_.load() == State::kEnded || state_.load() == State::kDismissed) return true;
  outbox_.push(std::move(frame));
  return flush_locked();
}

bool Connection::flush() {
  const std::lock_guard lock(mutex_);
  return flush_locked();
}

bool Connection::flush_locked() {
  if (outbox_.empty()) return true;
  const Flow flow = outbox_.flush(*stream_, host_.doorkeeper.lease_ttl(), kTurnBytes);
  sent_.store(outbox_.sent(), std::memory_order_relaxed);
  if (outbox_.empty()) drained_.fetch_add(1, std::memory_order_relaxed);
  sender_wants_read_ = flow == Flow::kWantRead;
  return flow == Flow::kMoved || flow == Flow::kWantWrite || flow == Flow::kWantRead;
}

bool Connection::paused() {
  const std::lock_guard lock(mutex_);
  return outbox_.bytes() > kMaxReplies || outbox_.has_payload();
}

void Connection::arm() {
  const std::lock_guard lock(mutex_);
  arm_locked();
}

void Connection::arm_locked() {
  if (state_.load() == State::kEnded) return;
  std::uint32_t events = 0;  // a dismissed peer that goes, which is always reported
  if (state_.load() != State::kDismissed) {
    const bool full = outbox_.bytes() > kMaxReplies || outbox_.has_payload();
    // A peer that has closed its end only, and still reads, must not wake us over and over.
    events = full ? 0U : EPOLLIN | EPOLLRDHUP;
    if (sender_wants_read_) events |= EPOLLIN;
    // What was read already makes nothing readable: room to write, which there is, wakes us at once.
    if (!outbox_.empty() || reader_wants_write_ || unread_) events |= EPOLLOUT;
  }
  host_.poller.arm(stream_->fd(), id_, events);
}

void Connection::close(Ending ending, ErrorCode code, const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    if (state_.load() == State::kEnded || state_.load() == State::kDismissed) return;
    flatbuffers::FlatBufferBuilder builder;
    const auto text = builder.CreateString(why);
    builder.Finish(wire::CreateGoodbye(builder, static_cast<std::uint8_t>(code), text));
    outbox_.push(make_frame(wire::Type::kGoodbye, 0, builder));
    static_cast<void>(flush_locked());
    // First, so that no reservation is added between the look and the end.
    if (session_) session_->keep_nothing_more();
    const bool holds_memory = is_unix_ && session_ && session_->holdings().reservations > 0 && !peer_gone();
    if (holds_memory) {
      dismissed_ = why;
      outbox_ = Outbox();
      state_.store(State::kDismissed);
      host_.metrics.endings[static_cast<std::size_t>(ending)].fetch_add(1, std::memory_order_relaxed);
      arm_locked();
      return;
    }
  }
  end(ending);
}

void Connection::end(Ending ending) {
  std::shared_ptr<Session> session;
  {
    const std::lock_guard lock(mutex_);
    const State before = state_.exchange(State::kEnded);
    if (before == State::kEnded) return;
    if (before != State::kDismissed) {
      host_.metrics.endings[static_cast<std::size_t>(ending)].fetch_add(1, std::memory_order_relaxed);
    }
    outbox_ = Outbox();  // with the leases of what was being sent
    session = session_;
    host_.poller.remove(stream_->fd());
    stream_->shutdown();
  }
  if (session) session->end();
  host_.gone(id_);
}

}  // namespace reprise
