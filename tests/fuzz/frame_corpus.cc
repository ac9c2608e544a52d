// Writes tests/fuzz/corpus/frame anew: one valid frame of every type, and a stream of three. Run it when a message
// is added or changed:  frame_corpus DIRECTORY
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "wire/frame.h"
#include "wire/messages.h"

namespace {

using namespace reprise;        // NOLINT(google-build-using-namespace)
using namespace reprise::wire;  // NOLINT(google-build-using-namespace)
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

std::vector<flatbuffers::Offset<wire::Chain>> chains(Builder& b) {
  const std::vector<BlockKey> keys = {BlockKey::from_words(1, 2), BlockKey::from_words(3, 4)};
  return {to_wire(b, 1, MatchRule{}, keys), to_wire(b, 2, MatchRule::last(3), keys)};
}

void session(Corpus& out) {
  Builder b;
  b.Clear();
  out.add(Type::kHello, "hello", b, CreateHelloDirect(b, 1, 1, 3, "vllm", "key", &kSome));
  b.Clear();
  out.add(Type::kHelloReply, "hello_reply", b, CreateHelloReplyDirect(b, 1, 3, "reprised", &kSome, true));
  b.Clear();
  out.add(Type::kAuthenticate, "authenticate", b, CreateAuthenticateDirect(b, &kSome));
  b.Clear();
  out.add(Type::kWelcome, "welcome", b, CreateWelcomeDirect(b, 9, "tenant", &kSome, 1 << 20, 1 << 20, 4096, 8));
  b.Clear();
  out.add(Type::kGoodbye, "goodbye", b, CreateGoodbyeDirect(b, 1, "draining"));
  b.Clear();
  out.add(Type::kPing, "ping", b, CreatePing(b));
  b.Clear();
  out.add(Type::kPong, "pong", b, CreatePing(b));
  b.Clear();
  out.add(Type::kFailed, "failed", b, CreateFailedDirect(b, 2, "why", true));
  NamespaceSpec spec;
  spec.model = "m";
  spec.block_tokens = 16;
  spec.salt = "s";
  spec.extras = {{"rope", "yarn"}};
  b.Clear();
  out.add(Type::kOpenNamespace, "open_namespace", b, to_wire(b, spec));
  const Id id(1, 2);
  b.Clear();
  out.add(Type::kNamespaceOpened, "namespace_opened", b, CreateNamespaceOpened(b, 3, &id));
}

void in_place(Corpus& out) {
  Builder b;
  const std::vector<Piece> places = {Piece(0, 4096), Piece(4096, 4096)};
  const Id id(1, 2);
  for (const auto& [type, name] : {std::pair{Type::kMatch, "match"}, std::pair{Type::kAcquire, "acquire"},
                                   std::pair{Type::kPrefetch, "prefetch"}, std::pair{Type::kErase, "erase"}}) {
    b.Clear();
    const auto some = chains(b);
    out.add(type, name, b, CreateChainsDirect(b, &some));
  }
  b.Clear();
  out.add(Type::kMatched, "matched", b, CreateMatched(b, 3, 2, 1, 1));
  b.Clear();
  const auto matched = CreateMatched(b, 2, 2, 0, 1);
  out.add(Type::kLeased, "leased", b, CreateLeasedDirect(b, matched, 5, 6, 7, &id, 8, &places));
  b.Clear();
  out.add(Type::kRelease, "release", b, CreateLeaseIdsDirect(b, &kNumbers));
  b.Clear();
  out.add(Type::kRenew, "renew", b, CreateRenew(b, 1, 2));
  b.Clear();
  out.add(Type::kAttach, "attach", b, CreateAttach(b, &id));
  b.Clear();
  const auto chain = chains(b).front();
  out.add(Type::kReserve, "reserve", b, CreateReserve(b, chain, 1));
  b.Clear();
  out.add(Type::kReserved, "reserved", b, CreateReservedDirect(b, 1, &places, &kSome));
  b.Clear();
  out.add(Type::kCommit, "commit", b, CreateCommit(b, 1, 2));
  b.Clear();
  out.add(Type::kCommitted, "committed", b, CreateCommitted(b, 2));
  b.Clear();
  out.add(Type::kAbandon, "abandon", b, CreateAbandon(b, 1));
}

void payload(Corpus& out) {
  Builder b;
  b.Clear();
  auto some = chains(b);
  out.add(Type::kGet, "get", b, CreateGetDirect(b, &some, 0, 2));
  b.Clear();
  some = chains(b);
  out.add(Type::kPut, "put", b, CreatePutDirect(b, &some, 0, 2, &kNumbers));
  b.Clear();
  const auto matched = CreateMatched(b, 2, 2, 0, 1);
  out.add(Type::kGot, "got", b, CreateGotDirect(b, matched, &kNumbers));
  b.Clear();
  out.add(Type::kStored, "stored", b, CreateStoredDirect(b, 1, 2, 3, 4, &kSome));
  b.Clear();
  out.add(Type::kErased, "erased", b, CreateErased(b, 5));
  b.Clear();
  out.add(Type::kFlush, "flush", b, CreateFlush(b));
  b.Clear();
  out.add(Type::kFlushed, "flushed", b, CreateFlushed(b, true));
  b.Clear();
  out.add(Type::kGetStats, "get_stats", b, CreateGetStats(b));
  CacheStats stats;
  stats.l1.hits = 4;
  stats.l2.name = "disk";
  b.Clear();
  out.add(Type::kStats, "stats", b, to_wire(b, stats));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fputs("frame_corpus DIRECTORY\n", stderr), 2;
  Corpus corpus(argv[1]);
  session(corpus);
  in_place(corpus);
  payload(corpus);
  corpus.finish();
  return 0;
}
