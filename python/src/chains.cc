#include "chains.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <new>
#include <string>

#include "arguments.h"
#include "errors.h"
#include "keys.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace reprise::python {
namespace {

std::string text_of(const MatchRule& rule) {
  switch (rule.kind) {
    case MatchRule::Kind::kPrefix: return "MatchRule.prefix()";
    case MatchRule::Kind::kLast: return "MatchRule.last(" + std::to_string(rule.arg) + ")";
    case MatchRule::Kind::kExact: return "MatchRule.exact(" + std::to_string(rule.arg) + ")";
  }
  return "MatchRule";
}

MatchRule last(std::uint32_t window) {
  if (window == 0) throw Raised({ErrorCode::kInvalid, "window is 0; must be at least 1"});
  return MatchRule::last(window);
}

void construct(OwnedChain* self, std::shared_ptr<Namespace> ns, nb::handle keys, const std::optional<MatchRule>& rule) {
  new (self) OwnedChain{std::move(ns), keys_of(keys), rule.value_or(MatchRule::prefix())};
}

OwnedChain from_tokens(std::shared_ptr<Namespace> ns, nb::handle tokens, const std::optional<MatchRule>& rule,
                       KeyScheme scheme) {
  const std::vector<std::uint32_t> ids = tokens_of(tokens);
  auto keys = unwrap(without_gil([&] { return block_keys(ids, ns->block_tokens(), scheme); }));
  return {std::move(ns), std::move(keys), rule.value_or(MatchRule::prefix())};
}

void bind_rule(nb::module_& m) {
  nb::class_<MatchRule>(m, "MatchRule", "Which blocks of a chain must be present for its first n to be usable.")
      .def_static("prefix", &MatchRule::prefix, "All of [0, n): full attention. The default.")
      .def_static("last", &last, "window"_a, "Only the last `window` blocks before n: sliding-window attention.")
      .def_static("exact", &MatchRule::exact, "position"_a, "Only the block at `position`: snapshots of a state.")
      .def(
          "__eq__", [](const MatchRule& a, const MatchRule& b) { return a == b; }, nb::is_operator())
      .def("__hash__", [](const MatchRule& r) { return static_cast<std::size_t>(r.kind) * 0x100000001ULL + r.arg; })
      .def("__repr__", &text_of);
}

}  // namespace

ChainList chains_of(nb::handle argument) {
  ChainList list;
  const auto add = [&list](nb::handle item) {
    const OwnedChain* chain = nullptr;
    if (!nb::try_cast(item, chain) || chain == nullptr) {
      throw nb::type_error(("chains: expected a Chain or a sequence of them, not '" +
                            std::string(nb::type_name(item.type()).c_str()) + "'")
                               .c_str());
    }
    list.owners.push_back(nb::borrow(item));
    list.chains.push_back(chain->view());
  };
  if (!nb::isinstance<OwnedChain>(argument) && PySequence_Check(argument.ptr()) != 0) {
    for (nb::handle item : nb::borrow<nb::object>(argument)) add(item);
  } else {
    add(argument);
  }
  if (list.chains.empty()) throw nb::value_error("chains: the sequence is empty; pass at least one Chain");
  return list;
}

void bind_chains(nb::module_& m) {
  bind_rule(m);
  nb::class_<OwnedChain>(m, "Chain", "The blocks of one prompt, in order. Immutable.")
      .def(
          "__init__", &construct, "ns"_a, "keys"_a, nb::kw_only(), "rule"_a.none() = nb::none(),
          nb::sig("def __init__(self, ns: Namespace, keys: Sequence[bytes] | Buffer, *, rule: MatchRule | None = None) "
                  "-> None"))
      .def_static("from_tokens", &from_tokens, "ns"_a, "tokens"_a, nb::kw_only(), "rule"_a.none() = nb::none(),
                  "scheme"_a = KeyScheme::kSha256,
                  nb::sig("def from_tokens(ns: Namespace, tokens: Sequence[int] | Buffer, *, "
                          "rule: MatchRule | None = None, scheme: KeyScheme = KeyScheme.SHA256) -> Chain"),
                  "The complete blocks of a prompt; a last, incomplete one is left out.")
      .def_prop_ro(
          "ns", [](const OwnedChain& c) { return std::const_pointer_cast<Namespace>(c.ns); },
          nb::sig("def ns(self) -> Namespace"))
      .def_prop_ro("rule", [](const OwnedChain& c) { return c.rule; })
      .def_prop_ro(
          "keys", [](const OwnedChain& c) { return list_of(c.keys); }, nb::sig("def keys(self) -> list[bytes]"))
      .def("__len__", [](const OwnedChain& c) { return c.keys.size(); })
      .def("__repr__", [](const OwnedChain& c) {
        return "Chain(" + c.ns->spec().model + ", " + std::to_string(c.keys.size()) + " blocks, " + text_of(c.rule) +
               ")";
      });
}

}  // namespace reprise::python
