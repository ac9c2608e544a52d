// A server that says whatever a test wants: real frames over a real socket, answers from the test's own hands.
//
// FakePeer is the server's end of one connection, for a script to play. FakeServer listens on a Unix socket or on
// loopback, shakes hands with everybody and answers each request by what the test set for its type; what nobody set is
// answered as an empty cache would. Handlers run on the server's threads, one for each connection.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rpc/frame_reader.h"
#include "testing/stream_helpers.h"
#include "transport/socket_stream.h"
#include "wire/auth.h"
#include "wire/messages.h"

namespace reprise::testing {

using flatbuffers::FlatBufferBuilder;

class FakePeer {
 public:
  explicit FakePeer(std::unique_ptr<Stream> stream) : stream_(std::move(stream)), reader_(wire::kMaxBody) {}

  /// False when the client is gone, or close() was called by somebody.
  bool read() { return next() == FrameReader::Step::kFrame; }
  bool read_payload(PayloadSink& into) {
    reader_.receive(into);
    return next() == FrameReader::Step::kPayloadDone;
  }
  [[nodiscard]] const wire::FrameHeader& header() const { return reader_.header(); }
  template <typename T>
  [[nodiscard]] const T* body() const {
    return wire::read_body<T>(reader_.body());
  }
  [[nodiscard]] Stream& stream() { return *stream_; }
  void close() { stream_->shutdown(); }

  void send_bytes(Bytes header, Bytes body = {}, const std::string& payload = "") {
    const Bytes pieces[] = {header, body, bytes_of(payload)};
    (void)write_all(*stream_, pieces, in_time());
  }
  void send(wire::Type type, std::uint64_t request, const FlatBufferBuilder& builder, const std::string& payload = "") {
    wire::FrameHeader header;
    header.type = type;
    header.request = request;
    header.payload_bytes = payload.size();
    send_bytes(wire::encode_header(header, wire::body_of(builder)), wire::body_of(builder), payload);
  }
  /// The answer to what was just read. `make`: from a builder to the offset of a table.
  template <typename Make>
  void answer(wire::Type type, const Make& make, const std::string& payload = "") {
    FlatBufferBuilder builder;
    builder.Finish(make(builder));
    send(type, header().request, builder, payload);
  }

  void hello(bool need_proof, std::uint8_t version = wire::kVersion) {
    answer(wire::Type::kHelloReply, [&](FlatBufferBuilder& builder) {
      const auto name = builder.CreateString("scripted");
      const auto nonce = builder.CreateVector(nonce_.data(), nonce_.size());
      return wire::CreateHelloReply(builder, version, 3, name, nonce, need_proof);
    });
  }
  struct Welcome {
    std::uint64_t ttl_ms = 60'000;
    std::uint64_t arena_bytes = 4096;
    std::uint32_t words = 64;
    Bytes proof;
  };
  void welcome(const Welcome& what) {
    answer(wire::Type::kWelcome, [&](FlatBufferBuilder& builder) {
      const auto tenant = builder.CreateString("default");
      const auto proof =
          what.proof.empty()
              ? flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>>()
              : builder.CreateVector(reinterpret_cast<const std::uint8_t*>(what.proof.data()), what.proof.size());
      return wire::CreateWelcome(builder, 7, tenant, proof, 1 << 20, what.arena_bytes, 100, what.words, what.ttl_ms);
    });
  }
  void matched(std::uint64_t request, std::uint64_t blocks, wire::Type type = wire::Type::kMatched) {
    FlatBufferBuilder builder;
    builder.Finish(wire::CreateMatched(builder, blocks, blocks));
    send(type, request, builder);
  }
  void failed(ErrorCode code, const std::string& text, bool closing) {
    answer(wire::Type::kFailed, [&](FlatBufferBuilder& builder) {
      return wire::CreateFailed(builder, static_cast<std::uint8_t>(code), builder.CreateString(text), closing);
    });
  }
  void goodbye(ErrorCode code, const std::string& text) {
    FlatBufferBuilder builder;
    builder.Finish(wire::CreateGoodbye(builder, static_cast<std::uint8_t>(code), builder.CreateString(text)));
    send(wire::Type::kGoodbye, 0, builder);
  }
  [[nodiscard]] const wire::Nonce& nonce() const { return nonce_; }

 private:
  FrameReader::Step next() {
    for (;;) {
      const auto step = reader_.advance(*stream_);
      if (step != FrameReader::Step::kWantRead && step != FrameReader::Step::kWantWrite) return step;
      pollfd entry{stream_->fd(), POLLIN, 0};
      (void)::poll(&entry, 1, -1);
    }
  }

  std::unique_ptr<Stream> stream_;
  FrameReader reader_;
  wire::Nonce nonce_{1, 2, 3};
};

class FakeServer {
 public:
  using Handler = std::function<void(FakePeer&)>;
  static constexpr std::uint64_t kArena = 1 << 20;
  static constexpr std::uint32_t kWords = 64;

  /// `path`: of the Unix socket; "" for TCP.
  explicit FakeServer(std::string path) : path_(std::move(path)) {
    if (path_.empty()) {
      auto listening = listen_tcp({"127.0.0.1", 0});
      if (!listening) return;
      listener_ = std::move(listening->descriptor);
      port_ = listening->port;
    } else {
      auto listening = listen_unix(path_, 0600);
      if (!listening) return;
      listener_ = std::move(*listening);
      arena_ = make_memory(kArena, F_SEAL_SHRINK | F_SEAL_GROW, &memory_);
      words_file_ = make_memory(kWords * 8, F_SEAL_SHRINK | F_SEAL_GROW, &words_);
    }
    accepting_ = std::thread([this] { accept(); });
  }
  ~FakeServer() {
    stop_.store(true);
    if (accepting_.joinable()) accepting_.join();
    hang_up();
    for (auto& thread : threads_) thread.join();
    if (memory_ != nullptr) ::munmap(memory_, kArena);
    if (words_ != nullptr) ::munmap(words_, kWords * 8);
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  [[nodiscard]] std::string url() const {
    return path_.empty() ? "tcp://127.0.0.1:" + std::to_string(port_) : "unix://" + path_;
  }
  /// From the next request on; whatever a handler does not answer stays unanswered.
  void on(wire::Type type, Handler handler) {
    const std::lock_guard lock(mutex_);
    handlers_[type] = std::move(handler);
  }
  void forget(wire::Type type) {
    const std::lock_guard lock(mutex_);
    handlers_.erase(type);
  }
  /// In the place of the handshake.
  void on_hello(Handler handler) { on(wire::Type::kHello, std::move(handler)); }
  /// Ends every connection.
  void hang_up() {
    const std::lock_guard lock(mutex_);
    for (const auto& peer : peers_) peer->close();
  }
  /// Connections so far.
  [[nodiscard]] int connections() const { return connections_.load(); }
  /// Requests of a type so far.
  [[nodiscard]] int count(wire::Type type) {
    const std::lock_guard lock(mutex_);
    return counts_[type];
  }

  // Shared memory, as the server sees it.
  [[nodiscard]] std::byte* memory() { return memory_; }
  [[nodiscard]] std::atomic<std::uint64_t>& word(std::size_t i) {
    return reinterpret_cast<std::atomic<std::uint64_t>*>(words_)[i];
  }
  void welcome(FakePeer& peer, FakePeer::Welcome what = {.arena_bytes = kArena, .words = kWords, .proof = {}}) {
    if (arena_.valid()) {
      const int files[] = {arena_.get(), words_file_.get()};
      (void)peer.stream().attach_descriptors(files);
    }
    peer.welcome(what);
  }
  /// A memfd, mapped where `at` says.
  static FileDescriptor make_memory(std::uint64_t bytes, int seals, std::byte** at) {
    FileDescriptor file(::memfd_create("fake-server", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0 || ::fcntl(file.get(), F_ADD_SEALS, seals) != 0) {
      return {};
    }
    if (at != nullptr) {
      void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
      *at = mapped == MAP_FAILED ? nullptr : static_cast<std::byte*>(mapped);
    }
    return file;
  }

 private:
  void accept() {
    while (!stop_.load()) {
      pollfd entry{listener_.get(), POLLIN, 0};
      if (::poll(&entry, 1, 5) <= 0) continue;
      auto socket = accept_connection(listener_.get());
      if (!socket || !socket->valid()) continue;
      const auto peer = std::make_shared<FakePeer>(make_socket_stream(std::move(*socket)));
      {
        const std::lock_guard lock(mutex_);
        peers_.push_back(peer);
      }
      connections_.fetch_add(1);
      threads_.emplace_back([this, peer] { serve(*peer); });
    }
  }

  void serve(FakePeer& peer) {
    while (peer.read()) {
      Handler handler;
      {
        const std::lock_guard lock(mutex_);
        ++counts_[peer.header().type];
        const auto found = handlers_.find(peer.header().type);
        if (found != handlers_.end()) handler = found->second;
      }
      if (handler) {
        handler(peer);
      } else {
        by_default(peer);
      }
    }
    peer.close();
  }

  void by_default(FakePeer& peer) {
    using wire::Type;
    switch (peer.header().type) {
      case Type::kHello:
        peer.hello(false);
        welcome(peer);
        break;
      case Type::kOpenNamespace:
        peer.answer(Type::kNamespaceOpened, [](FlatBufferBuilder& b) { return wire::CreateNamespaceOpened(b, 1); });
        break;
      case Type::kAcquire:
        peer.answer(Type::kLeased, [](FlatBufferBuilder& b) { return wire::CreateLeased(b, wire::CreateMatched(b)); });
        break;
      case Type::kGet:
        peer.answer(Type::kGot, [](FlatBufferBuilder& b) { return wire::CreateGot(b, wire::CreateMatched(b)); });
        break;
      case Type::kRelease:
      case Type::kRenew:
      case Type::kAbandon: break;
      default: peer.matched(peer.header().request, 0); break;
    }
  }

  const std::string path_;
  FileDescriptor listener_;
  std::uint16_t port_ = 0;
  FileDescriptor arena_;
  FileDescriptor words_file_;
  std::byte* memory_ = nullptr;
  std::byte* words_ = nullptr;
  std::atomic<bool> stop_ = false;
  std::atomic<int> connections_ = 0;
  std::mutex mutex_;  // guards the next three
  std::map<wire::Type, Handler> handlers_;
  std::map<wire::Type, int> counts_;
  std::vector<std::shared_ptr<FakePeer>> peers_;  // shared with their threads
  std::vector<std::thread> threads_;              // of the accepting thread, until it ends
  std::thread accepting_;
};

}  // namespace reprise::testing
