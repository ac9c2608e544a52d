#include "server/admin/http_loop.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/log.h"
#include "transport/socket_address.h"
#include "transport/socket_stream.h"

namespace reprise::admin {

namespace {

constexpr std::chrono::milliseconds kLinger{1'000};
constexpr std::chrono::milliseconds kAcceptPause{200};
constexpr std::size_t kReadBytes = 4096;

}  // namespace

struct HttpLoop::Connection {
  enum class State : std::uint8_t {
    kReading,    // Waits for a request, or the rest of one.
    kAnswering,  // The pool has its request.
    kWriting,    // An answer is on its way out.
    kLingering,  // Said everything; reads on, so that closing does not take the answer back (a reset would).
    kClosed,     // To be forgotten.
  };

  std::uint64_t id = 0;
  std::unique_ptr<Stream> stream;
  State state = State::kReading;
  TimePoint since{};     // Of the state.
  TimePoint deadline{};  // Of the state; not for kAnswering.
  std::string in;
  std::string out;
  std::size_t sent = 0;
  std::size_t requests = 0;
  bool close_after = false;
  short ready = 0;  // What poll said.

  void enter(State next, TimePoint now, Duration limit) {
    state = next;
    since = now;
    deadline = now + limit;
  }
  [[nodiscard]] short wanted() const {
    if (state == State::kWriting) return POLLOUT;
    return state == State::kAnswering ? short{0} : short{POLLIN};
  }
};

Result<std::unique_ptr<HttpLoop>> HttpLoop::start(FileDescriptor listener, const HttpLimits& limits,
                                                  const HttpCodec& codec) {
  FileDescriptor wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake.valid()) return fail(ErrorCode::kIo, "cannot make an eventfd: " + error_text(errno));
  return std::unique_ptr<HttpLoop>(new HttpLoop(std::move(listener), std::move(wake), limits, codec));
}

HttpLoop::HttpLoop(FileDescriptor listener, FileDescriptor wake, const HttpLimits& limits, const HttpCodec& codec)
    : limits_(limits),
      listener_(std::move(listener)),
      wake_(std::move(wake)),
      pool_(limits.threads, limits.connections, codec, wake_.get()) {
  connections_.reserve(limits_.connections);
  done_.reserve(limits_.connections);
  thread_ = std::thread([this] { run(); });
}

HttpLoop::~HttpLoop() {
  stopping_ = true;
  (void)::eventfd_write(wake_.get(), 1);
  thread_.join();
}

void HttpLoop::run() {
  while (!stopping_) {
    TimePoint now = std::chrono::steady_clock::now();
    wait(now);
    now = std::chrono::steady_clock::now();
    pool_.take_done(done_);
    for (ExchangePool::Done& done : done_) {
      const auto it = std::ranges::find_if(connections_, [&](const auto& c) { return c->id == done.connection; });
      if (it != connections_.end()) begin_answer(**it, std::move(done.answer), now);
    }
    done_.clear();
    for (const auto& connection : connections_) serve(*connection, now);
    std::erase_if(connections_, [](const auto& c) { return c->state == Connection::State::kClosed; });
    accept_waiting(now);
  }
}

/// Until something can be done, or the nearest deadline.
void HttpLoop::wait(TimePoint now) {
  std::vector<pollfd> polled;
  polled.reserve(connections_.size() + 2);
  TimePoint until = TimePoint::max();
  polled.push_back({wake_.get(), POLLIN, 0});
  const bool accepting = now >= accept_again_;
  polled.push_back({accepting ? listener_.get() : -1, POLLIN, 0});
  if (!accepting) until = accept_again_;
  for (const auto& connection : connections_) {
    const bool answering = connection->state == Connection::State::kAnswering;
    // Asked for nothing, poll would still report a peer that is gone, over and over.
    polled.push_back({answering ? -1 : connection->stream->fd(), connection->wanted(), 0});
    if (!answering) until = std::min(until, connection->deadline);
  }
  int timeout = -1;
  if (until != TimePoint::max()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
    timeout = static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
  }
  if (::poll(polled.data(), polled.size(), timeout) < 0) return;
  if (polled[0].revents != 0) {
    eventfd_t count = 0;
    (void)::eventfd_read(wake_.get(), &count);
  }
  for (std::size_t i = 0; i < connections_.size(); ++i) connections_[i]->ready = polled[i + 2].revents;
}

void HttpLoop::accept_waiting(TimePoint now) {
  // A bounded number each turn, so that a flood of connections does not keep the others waiting.
  for (std::size_t i = 0; i < limits_.connections && now >= accept_again_; ++i) {
    auto socket = accept_connection(listener_.get());
    if (!socket) {
      log::warn("admin: " + socket.error().message);
      accept_again_ = now + kAcceptPause;
      return;
    }
    if (!socket->valid()) return;
    auto stream = make_socket_stream(std::move(*socket));
    if (connections_.size() >= limits_.connections && !make_room()) {
      const std::string text = refusal(503, "Service Unavailable", "busy: too many connections; try again");
      const Bytes piece = std::as_bytes(std::span(text));
      (void)stream->write(std::span(&piece, 1));
      continue;
    }
    auto connection = std::make_unique<Connection>();
    connection->id = ++last_id_;
    connection->stream = std::move(stream);
    connection->enter(Connection::State::kReading, now, limits_.request_timeout);
    connections_.push_back(std::move(connection));
  }
}

/// Closes the connection that has waited longest for its client. False when all are being answered.
bool HttpLoop::make_room() {
  const auto rank = [](const auto& c) {
    return c->state == Connection::State::kAnswering ? TimePoint::max() : c->since;
  };
  const auto oldest = std::ranges::min_element(connections_, {}, rank);
  if (oldest == connections_.end() || (*oldest)->state == Connection::State::kAnswering) return false;
  connections_.erase(oldest);
  return true;
}

void HttpLoop::serve(Connection& connection, TimePoint now) {
  const short ready = std::exchange(connection.ready, short{0});
  using State = Connection::State;
  if (connection.state == State::kAnswering || connection.state == State::kClosed) return;
  if (ready != 0 && connection.state == State::kWriting) send(connection, now);
  if (ready != 0 && (connection.state == State::kReading || connection.state == State::kLingering)) {
    if (!receive(connection, now)) connection.state = State::kClosed;
  }
  if (connection.state == State::kAnswering || now < connection.deadline) return;
  if (connection.state == State::kReading && !connection.in.empty()) {
    begin_answer(connection, {refusal(408, "Request Timeout", "timeout: the request did not arrive in time"), true},
                 now);
    return;
  }
  if (connection.state == State::kWriting) {
    // By a reset: in order, the rest would stay in the kernel for as long as the reader likes.
    const linger reset{1, 0};
    (void)::setsockopt(connection.stream->fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  }
  connection.state = State::kClosed;
}

/// False when the connection is over.
bool HttpLoop::receive(Connection& connection, TimePoint now) {
  std::array<std::byte, kReadBytes> buffer;
  const MutableBytes piece(buffer);
  // One read each turn is enough: poll reports the rest.
  const Moved moved = connection.stream->read(std::span(&piece, 1));
  if (moved.flow == Flow::kWantRead || moved.flow == Flow::kWantWrite) return true;
  if (moved.flow != Flow::kMoved) return false;
  if (connection.state == Connection::State::kLingering) return true;
  if (connection.in.empty()) connection.enter(Connection::State::kReading, now, limits_.request_timeout);
  connection.in.append(reinterpret_cast<const char*>(buffer.data()), moved.bytes);
  return next_request(connection, now);
}

/// Hands a complete request to the pool. Always true: answers go out even to who made a mistake.
bool HttpLoop::next_request(Connection& connection, TimePoint now) {
  const std::size_t head = head_bytes(connection.in);
  if (head > limits_.request_bytes || (head == 0 && connection.in.size() > limits_.request_bytes)) {
    begin_answer(connection,
                 {refusal(431, "Request Header Fields Too Large", "invalid: the request is too long"), true}, now);
    return true;
  }
  if (head == 0) return true;
  std::string request = connection.in.substr(0, head);
  connection.in.erase(0, head);
  connection.enter(Connection::State::kAnswering, now, limits_.write_timeout);
  pool_.submit(connection.id, std::move(request), ++connection.requests >= limits_.requests);
  return true;
}

void HttpLoop::begin_answer(Connection& connection, HttpCodec::Answer answer, TimePoint now) {
  connection.out = std::move(answer.bytes);
  connection.sent = 0;
  connection.close_after = answer.close;
  connection.enter(Connection::State::kWriting, now, limits_.write_timeout);
  send(connection, now);
}

void HttpLoop::send(Connection& connection, TimePoint now) {
  using State = Connection::State;
  while (connection.sent < connection.out.size()) {
    const Bytes piece = std::as_bytes(std::span(connection.out).subspan(connection.sent));
    const Moved moved = connection.stream->write(std::span(&piece, 1));
    if (moved.flow == Flow::kWantRead || moved.flow == Flow::kWantWrite) return;
    if (moved.flow != Flow::kMoved) {
      connection.state = State::kClosed;
      return;
    }
    connection.sent += moved.bytes;
  }
  connection.out = {};
  if (connection.close_after) {
    (void)::shutdown(connection.stream->fd(), SHUT_WR);
    connection.enter(State::kLingering, now, kLinger);
    return;
  }
  connection.enter(State::kReading, now, connection.in.empty() ? limits_.idle_timeout : limits_.request_timeout);
  if (!connection.in.empty()) (void)next_request(connection, now);  // It sent the next one already.
}

}  // namespace reprise::admin
