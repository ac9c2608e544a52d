#include "keys.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "arguments.h"
#include "buffers.h"
#include "errors.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace reprise::python {
namespace {

nb::bytes bytes_of(const BlockKey& key) {
  return nb::bytes(key.bytes.data(), key.bytes.size());
}

KeyChain make_key_chain(std::uint32_t block_tokens, KeyScheme scheme) {
  if (block_tokens == 0) throw Raised({ErrorCode::kInvalid, "block_tokens is 0; must be at least 1"});
  return {scheme, block_tokens};
}

void append(KeyChain& chain, nb::handle tokens) {
  // With the GIL, unlike block_keys: a chain is not for several threads at once, and appends are short.
  chain.append(tokens_of(tokens));
}

nb::bytes packed(const KeyChain& chain, std::size_t start) {
  const auto keys = std::span(chain.keys());
  const auto rest = keys.subspan(std::min(start, keys.size()));
  return nb::bytes(rest.data(), rest.size_bytes());
}

// Bytes of `str` (as UTF-8), `bytes` and other buffers, kept alive by what is held here.
class HeldHashes {
 public:
  explicit HeldHashes(nb::handle hashes) {
    if (PyUnicode_Check(hashes.ptr()) != 0 || PyBytes_Check(hashes.ptr()) != 0) {
      throw nb::type_error("hashes: expected a sequence of str or bytes, not a single one");
    }
    items_ = nb::steal<nb::object>(PySequence_Tuple(hashes.ptr()));  // a tuple keeps its items, whoever changes a list
    if (!items_.is_valid()) throw nb::python_error();
    const Py_ssize_t count = PyTuple_Size(items_.ptr());
    hashes_.reserve(static_cast<std::size_t>(count));
    for (Py_ssize_t i = 0; i < count; ++i) add(PyTuple_GetItem(items_.ptr(), i));
  }
  [[nodiscard]] std::span<const Bytes> all() const { return hashes_; }

 private:
  void add(PyObject* item) {
    Py_ssize_t size = 0;
    if (PyUnicode_Check(item) != 0) {
      const char* const text = PyUnicode_AsUTF8AndSize(item, &size);  // kept with the str
      if (text == nullptr) throw nb::python_error();
      hashes_.push_back(std::as_bytes(std::span(text, static_cast<std::size_t>(size))));
    } else if (PyBytes_Check(item) != 0) {
      char* bytes = nullptr;
      if (PyBytes_AsStringAndSize(item, &bytes, &size) != 0) throw nb::python_error();
      hashes_.push_back(std::as_bytes(std::span(bytes, static_cast<std::size_t>(size))));
    } else {
      const HeldBuffer& held = buffers_.emplace_back(item, false, "hashes[" + std::to_string(hashes_.size()) + "]");
      hashes_.emplace_back(held.data(), held.size());
    }
  }

  nb::object items_;
  std::deque<HeldBuffer> buffers_;
  std::vector<Bytes> hashes_;
};

nb::bytes from_hashes(const std::string& algorithm, nb::handle hashes, std::size_t group, bool trust_hashes) {
  constexpr std::size_t kWorthReleasing = 64;  // some 10 us
  const HeldHashes held(hashes);
  const auto hash_all = [&] { return keys_from_hashes(algorithm, held.all(), group, trust_hashes); };
  const auto keys = unwrap(held.all().size() < kWorthReleasing ? hash_all() : without_gil(hash_all));
  return nb::bytes(keys.data(), keys.size() * sizeof(BlockKey));
}

nb::list tail_of(const KeyChain& chain) {
  nb::list out;
  for (const std::uint32_t token : chain.tail()) out.append(token);
  return out;
}

}  // namespace

std::vector<BlockKey> keys_of(nb::handle keys) {
  const auto take = [](const HeldBuffer& held, std::vector<BlockKey>& out) {
    const std::size_t first = out.size();
    out.resize(first + held.size() / sizeof(BlockKey));
    if (held.size() != 0) std::memcpy(out.data() + first, held.data(), held.size());
  };
  std::vector<BlockKey> out;
  if (has_bytes(keys)) {
    const HeldBuffer held(keys, false, "keys");
    if (held.size() % sizeof(BlockKey) != 0) {
      throw nb::value_error(("keys: " + std::to_string(held.size()) + " bytes are not whole keys of 16").c_str());
    }
    take(held, out);
    return out;
  }
  if (PySequence_Check(keys.ptr()) == 0) {
    throw nb::type_error("keys: expected a sequence of 16-byte keys, or one buffer of them");
  }
  for (nb::handle item : nb::borrow<nb::object>(keys)) {
    const std::string what = "keys[" + std::to_string(out.size()) + "]";
    const HeldBuffer held(item, false, what);
    if (held.size() != sizeof(BlockKey)) {
      throw nb::value_error((what + " has " + std::to_string(held.size()) + " bytes; a key has 16").c_str());
    }
    take(held, out);
  }
  return out;
}

nb::list list_of(const std::vector<BlockKey>& keys) {
  nb::list out;
  for (const BlockKey& key : keys) out.append(bytes_of(key));
  return out;
}

void bind_keys(nb::module_& m) {
  nb::enum_<KeyScheme>(m, "KeyScheme", "How token lists become keys; docs/identity.md has the formulas.")
      .value("SHA256", KeyScheme::kSha256, "SHA-256 chain, safe against forged collisions.")
      .value("XXH3", KeyScheme::kXxh3, "XXH3-128 chain: faster, for trusted callers only.")
      .value("FARM_ROLLING", KeyScheme::kFarmRolling,
             "FarmHash Fingerprint128 chain: for trusted callers who need these very keys.")
      .value("FARM_SIMPLE", KeyScheme::kFarmSimple,
             "FarmHash Fingerprint128 of all tokens up to the block's end: likewise, in quadratic time.");
  nb::class_<KeyChain>(m, "KeyChain", "Hashes a growing token list block by block. Not thread-safe: one per prompt.")
      .def(nb::new_(&make_key_chain), "block_tokens"_a, "scheme"_a = KeyScheme::kSha256)
      .def("append", &append, "tokens"_a, nb::sig("def append(self, tokens: Sequence[int] | Buffer) -> None"),
           "Appends tokens; every block that became complete adds one key.")
      .def_prop_ro(
          "keys", [](const KeyChain& chain) { return list_of(chain.keys()); }, nb::sig("def keys(self) -> list[bytes]"),
          "Keys of the complete blocks so far, in order.")
      .def("packed", &packed, "start"_a = 0, nb::sig("def packed(self, start: int = 0) -> bytes"),
           "Keys of the blocks from `start` on, 16 bytes each, one after the other; none beyond the last.")
      .def_prop_ro("tail", &tail_of, nb::sig("def tail(self) -> list[int]"), "Tokens of the incomplete last block.")
      .def("__len__", [](const KeyChain& chain) { return chain.keys().size(); });
  m.def(
      "block_keys",
      [](nb::handle tokens, std::uint32_t block_tokens, KeyScheme scheme) {
        const std::vector<std::uint32_t> ids = tokens_of(tokens);
        return list_of(unwrap(without_gil([&] { return block_keys(ids, block_tokens, scheme); })));
      },
      "tokens"_a, "block_tokens"_a, "scheme"_a = KeyScheme::kSha256,
      nb::sig("def block_keys(tokens: Sequence[int] | Buffer, block_tokens: int, scheme: KeyScheme = KeyScheme.SHA256) "
              "-> list[bytes]"),
      "Keys, 16 bytes each, of all complete blocks of `tokens`.");
  m.def(
      "key_from_hash",
      [](const std::string& algorithm, nb::handle hash, bool trust_hashes) {
        const HeldBuffer held(hash, false, "hash");
        return bytes_of(unwrap(key_from_hash(algorithm, Bytes(held.data(), held.size()), trust_hashes)));
      },
      "algorithm"_a, "hash"_a, "trust_hashes"_a = false,
      nb::sig("def key_from_hash(algorithm: str, hash: Buffer, trust_hashes: bool = False) -> bytes"),
      "Key of a block an engine has already hashed. Hashes that can be made to collide raise DeniedError unless "
      "`trust_hashes`.");
  m.def(
      "keys_from_hashes", &from_hashes, "algorithm"_a, "hashes"_a, "group"_a = 1, "trust_hashes"_a = false,
      nb::sig("def keys_from_hashes(algorithm: str, hashes: Sequence[str | Buffer], group: int = 1, "
              "trust_hashes: bool = False) -> bytes"),
      "Keys of many hashes, 16 bytes each, one after the other: what Chain takes. `group` consecutive hashes make one "
      "block; those of an incomplete last group are left out. A str counts as its UTF-8. With group 1 the keys are "
      "those of key_from_hash, and so is what is refused.");
}

}  // namespace reprise::python
