// Writes tests/fuzz/corpus/frame anew: one valid frame of every type, and a stream of three. Run it when a message
// is added or changed:  frame_corpus DIRECTORY
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "wire/frame.h"
#include "wire/messages.h"

namespace reprise::wire {
namespace {

using Builder = flatbuffers::FlatBufferBuilder;

class Corpus {
 public:
  explicit Corpus(std::string directory) : directory_(std::move(directory)) {}

  template <typename T>
  void add(Type type, const char* name, Builder& builder, flatbuffers::Offset<T> body) {
    builder.Finish(body);
    const Bytes bytes = body_of(builder);
    const HeaderBytes header = encode_header({.type = type, .request = 7, .timeout_us = 1000}, bytes);
    std::string frame(reinterpret_cast<const char*>(header.data()), header.size());
    frame.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (type == Type::kPing || type == Type::kMatch || type == Type::kStats) several_ += frame;
    write(name, frame);
  }
  void finish() { write("several", several_); }

 private:
  // The first byte says what frame_fuzz does before it decodes: nothing.
  void write(const char* name, const std::string& frames) {
    std::ofstream(directory_ + "/" + name, std::ios::binary) << '\0' << frames;
  }
  std::string directory_;
  std::string several_;
};

const std::vector<std::uint8_t> kSome(32, 0x5a);
const std::vector<std::uint64_t> kNumbers = {1, 2, 3};

std::vector<flatbuffers::Offset<Chain>> chains(Builder& b) {
  const std::vector<BlockKey> keys = {BlockKey::from_words(1, 2), BlockKey::from_words(3, 4)};
  return {to_wire(b, 1, MatchRule{}, keys), to_wire(b, 2, MatchRule::last(3), keys)};
}

void session(Corpus& out) {
  Builder b;
  const auto fresh = [&]() -> Builder& { return b.Clear(), b; };
  out.add(Type::kHello, "hello", fresh(), CreateHelloDirect(b, 1, 1, 3, "vllm", "key", &kSome));
  out.add(Type::kHelloReply, "hello_reply", fresh(), CreateHelloReplyDirect(b, 1, 3, "reprised", &kSome, true));
  out.add(Type::kAuthenticate, "authenticate", fresh(), CreateAuthenticateDirect(b, &kSome));
  out.add(Type::kWelcome, "welcome", fresh(), CreateWelcomeDirect(b, 9, "tenant", &kSome, 1 << 20, 1 << 20, 4096, 8));
  out.add(Type::kGoodbye, "goodbye", fresh(), CreateGoodbyeDirect(b, 1, "draining"));
  out.add(Type::kPing, "ping", fresh(), CreatePing(b));
  out.add(Type::kPong, "pong", fresh(), CreatePing(b));
  out.add(Type::kFailed, "failed", fresh(), CreateFailedDirect(b, 2, "why", true));
  NamespaceSpec spec;
  spec.model = "m";
  spec.block_tokens = 16;
  spec.salt = "s";
  spec.extras = {{"rope", "yarn"}};
  out.add(Type::kOpenNamespace, "open_namespace", fresh(), to_wire(b, spec));
  const Id id(1, 2);
  out.add(Type::kNamespaceOpened, "namespace_opened", fresh(), CreateNamespaceOpened(b, 3, &id));
}

void in_place(Corpus& out) {
  Builder b;
  const auto fresh = [&]() -> Builder& { return b.Clear(), b; };
  const std::vector<Piece> places = {Piece(0, 4096), Piece(4096, 4096)};
  const Id id(1, 2);
  for (const auto& [type, name] : {std::pair{Type::kMatch, "match"}, std::pair{Type::kAcquire, "acquire"},
                                   std::pair{Type::kPrefetch, "prefetch"}, std::pair{Type::kErase, "erase"}}) {
    fresh();
    const auto some = chains(b);
    out.add(type, name, b, CreateChainsDirect(b, &some));
  }
  out.add(Type::kMatched, "matched", fresh(), CreateMatched(b, 3, 2, 1, 1));
  fresh();
  const auto matched = CreateMatched(b, 2, 2, 0, 1);
  out.add(Type::kLeased, "leased", b, CreateLeasedDirect(b, matched, 5, 6, 7, &id, 8, &places));
  out.add(Type::kRelease, "release", fresh(), CreateLeaseIdsDirect(b, &kNumbers));
  out.add(Type::kRenew, "renew", fresh(), CreateRenew(b, 1, 2));
  out.add(Type::kAttach, "attach", fresh(), CreateAttach(b, &id));
  fresh();
  const auto chain = chains(b).front();
  out.add(Type::kReserve, "reserve", b, CreateReserve(b, chain, 1));
  out.add(Type::kReserved, "reserved", fresh(), CreateReservedDirect(b, 1, &places, &kSome));
  out.add(Type::kCommit, "commit", fresh(), CreateCommit(b, 1, 2));
  out.add(Type::kCommitted, "committed", fresh(), CreateCommitted(b, 2));
  out.add(Type::kAbandon, "abandon", fresh(), CreateAbandon(b, 1));
}

void payload(Corpus& out) {
  Builder b;
  const auto fresh = [&]() -> Builder& { return b.Clear(), b; };
  auto some = chains(fresh());
  out.add(Type::kGet, "get", b, CreateGetDirect(b, &some, 0, 2));
  some = chains(fresh());
  out.add(Type::kPut, "put", b, CreatePutDirect(b, &some, 0, 2, &kNumbers));
  fresh();
  const auto matched = CreateMatched(b, 2, 2, 0, 1);
  out.add(Type::kGot, "got", b, CreateGotDirect(b, matched, &kNumbers));
  out.add(Type::kStored, "stored", fresh(), CreateStoredDirect(b, 1, 2, 3, 4, &kSome));
  out.add(Type::kErased, "erased", fresh(), CreateErased(b, 5));
  out.add(Type::kFlush, "flush", fresh(), CreateFlush(b));
  out.add(Type::kFlushed, "flushed", fresh(), CreateFlushed(b, true));
  out.add(Type::kGetStats, "get_stats", fresh(), CreateGetStats(b));
  CacheStats stats;
  stats.l1.hits = 4;
  stats.l2.name = "disk";
  out.add(Type::kStats, "stats", fresh(), to_wire(b, stats));
}

void write_all_frames(const char* directory) {
  Corpus corpus(directory);
  session(corpus);
  in_place(corpus);
  payload(corpus);
  corpus.finish();
}

}  // namespace
}  // namespace reprise::wire

int main(int argc, char** argv) {
  if (argc != 2) return std::fputs("frame_corpus DIRECTORY\n", stderr), 2;
  reprise::wire::write_all_frames(argv[1]);
  return 0;
}
