#include "transport/stream.h"

#include <utility>

#include "testing/loopback.h"
#include "testing/stream_contract.h"
#include "transport/socket_stream.h"

namespace reprise {
namespace {

using testing::make_loopback;
using testing::StreamContract;
using testing::StreamForm;
using testing::StreamPair;

StreamPair over_tcp() {
  const auto listener = listen_tcp({"127.0.0.1", 0});
  if (!listener) return {};
  auto client = connect_tcp({"127.0.0.1", listener->port}, Deadline::after(std::chrono::seconds(30)));
  if (!client) return {};
  for (;;) {
    auto server = accept_connection(listener->descriptor.get());
    if (!server) return {};
    if (server->valid()) return {make_socket_stream(*std::move(client)), make_socket_stream(*std::move(server))};
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, StreamContract,
                         ::testing::Values(StreamForm{"loopback", true, [] { return make_loopback(); }},
                                           StreamForm{"loopback_small", true, [] { return make_loopback(1); }},
                                           StreamForm{"tcp", false, over_tcp}),
                         testing::stream_form_name);

}  // namespace
}  // namespace reprise
