// One connection: reads requests, has them carried out, sends replies, and holds the session.
//
// Whoever the poller wakes runs it, and at most one thread at a time does; requests that wait for L2 are answered from
// the waiting pool meanwhile. Nobody waits for the peer: what has come of a frame, and what is left to send, stays
// here. How it ends: the peer closes, or `close`. A session that holds reserved memory when the server closes it is
// dismissed: no longer served, but kept until the peer is gone, because the peer may still be writing there.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/server_options.h"
#include "rpc/frame_reader.h"
#include "rpc/outbox.h"
#include "server/greeter.h"
#include "server/handlers.h"
#include "server/metrics.h"
#include "server/poller.h"
#include "server/session.h"
#include "server/waiting_pool.h"
#include "transport/stream.h"

namespace reprise {

/// What all connections of a server share. Outlives them.
struct ConnectionHost {
  const Doorkeeper& doorkeeper;
  const ServerOptions& options;
  ServerMetrics& metrics;
  Poller& poller;
  WaitingPool& waiting;
  std::atomic<bool>& draining;
  std::atomic<int>& spinning;  ///< Threads that spin on a connection now.
  int max_spinning = 1;
  std::function<void(std::uint64_t id)> gone;  ///< The connection has ended: forget it.
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  /// `refusal`: why this peer may not come in; "" if it may. Arms nothing before start().
  Connection(ConnectionHost& host, std::uint64_t id, std::unique_ptr<Stream> stream, bool is_unix, std::string refusal);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void start();
  /// The descriptor is ready for something.
  void on_ready();
  /// Says goodbye and ends, or dismisses. Any thread.
  void close(Ending ending, ErrorCode code, const std::string& why);
  /// Ends what ran out of time, and, while draining, what holds nothing any more. By one thread, now and then.
  void check(TimePoint now);

  [[nodiscard]] std::uint64_t id() const { return id_; }
  /// Since when its session is not open yet; TimePoint::max() once it is.
  [[nodiscard]] TimePoint greeting_since() const {
    return state_.load() == State::kGreeting ? started_ : TimePoint::max();
  }
  /// Served, and in the middle of something or holding something.
  [[nodiscard]] bool busy() const;
  [[nodiscard]] SessionView view(TimePoint now) const;
  /// The token the peer proved; "" for none.
  [[nodiscard]] std::string key_id() const;
  /// Whether this session leases the block at this address.
  [[nodiscard]] bool holds(const std::byte* block) const;
  [[nodiscard]] std::shared_ptr<Session> session() const;

 private:
  enum class State : std::uint8_t { kGreeting, kOpen, kDismissed, kEnded };
  enum class Turn : std::uint8_t { kWait, kMore, kEnded };
  class Budget;

  Turn take_turn();
  Turn serve();
  Turn advance(Budget& budget);
  Turn on_frame(Budget& budget);
  Turn on_payload();
  Turn greet();
  void carry_out(const wire::FrameHeader& header);
  void carry_out_later(Handler handler, Request request);
  Turn out_of_step();
  [[nodiscard]] bool spin_for_more();
  [[nodiscard]] Request request_of(const wire::FrameHeader& header, TimePoint arrived);
  void count(wire::Type type, TimePoint arrived, const Answer& answer);
  [[nodiscard]] bool send(Outgoing frame);
  [[nodiscard]] bool flush();
  [[nodiscard]] bool flush_locked();
  [[nodiscard]] bool peer_gone() const;
  [[nodiscard]] bool paused();
  void arm();
  void arm_locked();
  /// The stream is of no more use: ends, or dismisses where the peer lives and may write to what it reserved.
  Turn lost(Ending ending);
  void end(Ending ending);
  void note_progress();

  struct Watch {
    std::uint64_t moved = 0;
    std::uint64_t frames = 0;
    TimePoint since;
  };
  [[nodiscard]] bool stalled(Watch& watch, bool busy, std::uint64_t moved, std::uint64_t frames, TimePoint now) const;

  ConnectionHost& host_;
  const std::uint64_t id_;
  const std::unique_ptr<Stream> stream_;
  const bool is_unix_;
  const TimePoint started_;

  // Of the thread that runs it.
  FrameReader reader_;
  std::optional<Greeter> greeter_;
  std::unique_ptr<IncomingPayload> incoming_;
  wire::Type incoming_type_ = wire::Type::kFailed;
  TimePoint incoming_since_;
  std::atomic<bool> reader_wants_write_{false};  // this and the next: also read by whoever arms
  std::atomic<bool> unread_{false};              // stopped although there is more to read

  std::atomic<std::uint32_t> wakings_{0};  // not yet taken care of; the first one's thread runs
  std::atomic<State> state_{State::kGreeting};

  // What the housekeeper and the pages look at.
  std::atomic<bool> inside_{false};
  std::atomic<bool> peer_owes_{false};  // bytes of a frame, for the one that waits
  std::atomic<std::uint64_t> received_{0};
  std::atomic<std::uint64_t> frames_in_{0};
  std::atomic<std::uint64_t> sent_{0};
  std::atomic<std::uint64_t> drained_{0};
  std::atomic<std::uint64_t> requests_{0};
  std::atomic<TimePoint> last_request_;
  std::atomic<std::uint32_t> waiting_{0};  // requests that the pool has
  Watch watch_in_;                         // of the housekeeper
  Watch watch_out_;

  mutable std::mutex mutex_;  // guards the rest
  Outbox outbox_;
  bool sender_wants_read_ = false;
  std::shared_ptr<Session> session_;  // shared with requests that wait
  std::string client_;
  std::string key_id_;
  std::string dismissed_;
};

}  // namespace reprise
