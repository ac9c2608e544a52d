// raw_peer [--token ID:SECRET] [--tls-ca FILE] [--receive-buffer N] unix:PATH|tcp:HOST:PORT STEP...
//
// Connects, takes the steps in turn, and answers each with a JSON line; raw_steps.cc lists them. A step's argument
// follows it after an '='. `many=N` stands alone: N connections with open sessions, which stay until standard input
// ends.
#include <sys/resource.h>

#include <iostream>

#include "answer.h"
#include "raw_steps.h"

namespace reprise::e2e {
namespace {

int hold_many(const RawTarget& target, std::size_t count) {
  std::vector<std::unique_ptr<RawClient>> open;
  std::size_t refused = 0;
  std::size_t unreachable = 0;
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    auto client = RawClient::connect(target);
    if (!client) {
      ++unreachable;
      text = client.error().message;
      continue;
    }
    const RawClient::Got got = open_session(**client);
    if (got == RawClient::Got::kFrame && (*client)->type() == wire::Type::kWelcome) {
      open.push_back(std::move(*client));
      continue;
    }
    ++refused;
    if (got != RawClient::Got::kFrame) continue;
    if (const auto* goodbye = wire::read_body<wire::Goodbye>((*client)->body())) text = wire::text_of(goodbye->text());
  }
  Answer().add("open", open.size()).add("refused", refused).add("unreachable", unreachable).add("text", text).say();
  std::string line;
  std::getline(std::cin, line);
  return 0;
}

int run(const RawTarget& target, std::span<char*> steps) {
  if (steps.size() == 1 && std::string_view(steps[0]).starts_with("many=")) {
    return hold_many(target, std::strtoull(steps[0] + 5, nullptr, 10));
  }
  auto client = RawClient::connect(target);
  if (!client) {
    Answer().add("step", "connect").add("answer", "unreachable").add("text", client.error().message).say();
    return 1;
  }
  Peer peer(**client);
  for (const char* step : steps) {
    if (peer.take(step)) continue;
    std::cerr << "no step " << step << "\n";
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace reprise::e2e

int main(int argc, char** argv) {
  using namespace reprise;
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  e2e::RawTarget target;
  int next = 1;
  for (; next + 1 < argc && std::string_view(argv[next]).starts_with("--"); next += 2) {
    const std::string_view name = argv[next];
    if (name == "--tls-ca") target.tls_ca = argv[next + 1];
    if (name == "--receive-buffer") target.receive_buffer = std::atoi(argv[next + 1]);
    if (name != "--token") continue;
    const auto credential = wire::parse_credential(argv[next + 1]);
    if (!credential) {
      std::cerr << credential.error().message << "\n";
      return 2;
    }
    target.credential = *credential;
  }
  if (next + 1 >= argc) {
    std::cerr << "usage: raw_peer [--token ID:SECRET] [--tls-ca FILE] [--receive-buffer N] URL STEP...\n";
    return 2;
  }
  target.url = argv[next];
  return e2e::run(target, std::span(argv + next + 1, argv + argc));
}
