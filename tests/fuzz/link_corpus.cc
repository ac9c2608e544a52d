// Writes tests/fuzz/corpus/link anew: for each call, a server that answers it well, and some that do not. Run it when a
// message is added or changed:  link_corpus DIRECTORY
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "base/kernels.h"
#include "wire/frame.h"
#include "wire/messages.h"

namespace reprise::wire {
namespace {

using Builder = flatbuffers::FlatBufferBuilder;

constexpr char kShared = '\x80';
constexpr char kNetwork = '\x81';
constexpr std::uint64_t kBlock = 1024;

/// One input: see link_fuzz.cc.
class Script {
 public:
  Script(char mode, char first_call) : text_{mode, first_call} {}
  template <typename T>
  Script& say(Type type, Builder& builder, flatbuffers::Offset<T> body, const std::string& payload = "") {
    builder.Finish(body);
    const HeaderBytes header = encode_header({.type = type, .payload_bytes = payload.size()}, body_of(builder));
    text_.append(reinterpret_cast<const char*>(header.data()), header.size());
    text_.append(reinterpret_cast<const char*>(body_of(builder).data()), body_of(builder).size());
    text_ += payload;
    builder.Clear();
    return *this;
  }
  Script& open_namespace() {
    Builder b;
    return say(Type::kNamespaceOpened, b, CreateNamespaceOpened(b, 1));
  }
  void write(const std::string& directory, const char* name) const {
    std::ofstream(directory + "/" + name, std::ios::binary) << text_;
  }

 private:
  std::string text_;
};

void write_in_place(const std::string& directory) {
  Builder b;
  const std::vector<Piece> five = {{0, kBlock}, {1024, kBlock}, {2048, kBlock}, {3072, kBlock}, {4096, kBlock}};
  const std::vector<Piece> three(five.begin(), five.begin() + 3);
  const std::vector<std::uint8_t> reasons = {0, 0, 0};
  const Id token(1, 2);
  Script acquire(kShared, 1);
  acquire.open_namespace();
  auto matched = CreateMatched(b, 3, 5);
  acquire.say(Type::kLeased, b, CreateLeasedDirect(b, matched, 9, 3, 7, &token, 60'000, &five));
  matched = CreateMatched(b, 3, 5);
  acquire.say(Type::kLeased, b, CreateLeasedDirect(b, matched, 10, 4, 0, &token, 60'000, &five));
  acquire.write(directory, "acquire_get");
  Script put(kShared, 3);
  put.open_namespace();
  for (int chain = 0; chain < 2; ++chain) {
    put.say(Type::kReserved, b, CreateReservedDirect(b, 5, &three, &reasons));
    put.say(Type::kCommitted, b, CreateCommitted(b, 3));
  }
  put.say(Type::kReserved, b, CreateReservedDirect(b, 5, &three, &reasons));
  put.say(Type::kCommitted, b, CreateCommitted(b, 3));
  matched = CreateMatched(b, 5, 5);
  put.say(Type::kLeased, b, CreateLeasedDirect(b, matched, 9, 3, 7, &token, 60'000, &five));
  put.write(directory, "put_reserve_attach");
}

void write_payload(const std::string& directory) {
  Builder b;
  std::string payload;
  std::vector<std::uint64_t> sums;
  for (int i = 0; i < 5; ++i) {
    const std::string block(kBlock, static_cast<char>('a' + i));
    sums.push_back(checksum(std::as_bytes(std::span(block))));
    payload += block;
  }
  Script get(kNetwork, 1);
  get.open_namespace();
  for (int i = 0; i < 2; ++i) {
    const auto matched = CreateMatched(b, 3, 5);
    get.say(Type::kGot, b, CreateGotDirect(b, matched, &sums), payload);
  }
  get.write(directory, "get");
  sums[3] ^= 1;
  Script corrupt(kNetwork, 2);
  corrupt.open_namespace();
  const auto matched = CreateMatched(b, 3, 5);
  corrupt.say(Type::kGot, b, CreateGotDirect(b, matched, &sums), payload);
  const std::vector<std::uint8_t> bits = {0b100100};
  corrupt.say(Type::kStored, b, CreateStoredDirect(b, 2, 2, 2, 3, &bits));
  corrupt.say(Type::kMatched, b, CreateMatched(b, 1, 1));
  corrupt.say(Type::kStored, b, CreateStoredDirect(b, 1, 1));
  corrupt.write(directory, "corrupt_put_reserve");
}

void write_rest(const std::string& directory) {
  Builder b;
  Script rest(kShared, 6);
  CacheStats stats;
  stats.l2.name = "disk";
  rest.say(Type::kStats, b, to_wire(b, stats));
  rest.open_namespace();
  rest.say(Type::kErased, b, CreateErased(b, 5));
  rest.say(Type::kFlushed, b, CreateFlushed(b, true));
  rest.say(Type::kMatched, b, CreateMatched(b, 3, 3, 2, 1));
  rest.say(Type::kFailed, b, CreateFailedDirect(b, 0, "why", false));
  rest.say(Type::kGoodbye, b, CreateGoodbyeDirect(b, 4, "draining"));
  rest.write(directory, "rest");
  const std::vector<std::uint8_t> nonce(32, 0x5a);
  for (const char token : {'\0', '\4'}) {
    Script greeting(static_cast<char>(kShared | 2 | token), 0);
    greeting.say(Type::kHelloReply, b, CreateHelloReplyDirect(b, 1, 3, "reprised", &nonce, token != 0));
    greeting.say(Type::kWelcome, b, CreateWelcomeDirect(b, 9, "tenant", &nonce, 1, 16384, 4096, 512, 60'000));
    greeting.open_namespace();
    greeting.say(Type::kMatched, b, CreateMatched(b, 3, 3));
    greeting.write(directory, token != 0 ? "greeting_token" : "greeting");
  }
}

}  // namespace
}  // namespace reprise::wire

int main(int argc, char** argv) {
  if (argc != 2) return std::fputs("link_corpus DIRECTORY\n", stderr), 2;
  reprise::wire::write_in_place(argv[1]);
  reprise::wire::write_payload(argv[1]);
  reprise::wire::write_rest(argv[1]);
  return 0;
}
