// The admin pages' HTTP on arbitrary bytes, through every page. Whatever comes is answered, once, and with no more than
// the page asked for.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "server/admin/http_codec.h"
#include "server/admin/pages.h"
#include "testing/fake_server_view.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace reprise;
  static testing::FakeServerView view;
  static admin::Pages pages("", {}, view);
  static const admin::HttpCodec codec([](const admin::HttpRequest& request) { return pages.answer(request); });
  constexpr std::size_t kRequestBytes = 8192;  // As HttpLoop lets through.
  constexpr std::size_t kAnswerBytes = 65'536;
  const std::string_view received(reinterpret_cast<const char*>(data), std::min(size, kRequestBytes));
  const std::size_t head = admin::head_bytes(received);
  if (head > received.size()) std::abort();
  if (head == 0) return 0;
  const auto answer = codec.answer(received.substr(0, head), false);
  if (!answer.bytes.starts_with("HTTP/1.1 ") || admin::head_bytes(answer.bytes) == 0) std::abort();
  if (answer.bytes.size() > kAnswerBytes) std::abort();
  return 0;
}
