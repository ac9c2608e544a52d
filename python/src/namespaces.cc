#include "namespaces.h"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <map>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "errors.h"
#include "reprise/namespace.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace reprise::python {
namespace {

// range(first, last) without steps. A pair of numbers would leave open whether the second one is a count.
IndexRange range_of(nb::handle range, const char* name) {
  if (!PyObject_IsInstance(range.ptr(), reinterpret_cast<PyObject*>(&PyRange_Type))) {
    throw nb::type_error((std::string(name) + ": expected range(first, last)").c_str());
  }
  const auto first = nb::cast<std::int64_t>(range.attr("start"));
  const auto last = nb::cast<std::int64_t>(range.attr("stop"));
  if (nb::cast<std::int64_t>(range.attr("step")) != 1 || first < 0 || last < first || last > UINT32_MAX) {
    throw nb::value_error(
        (std::string(name) + ": " + nb::str(range).c_str() + " must have step 1 and lie within 0 to 4294967295")
            .c_str());
  }
  return {static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last - first)};
}

nb::object range_object(const IndexRange& range) {
  return nb::handle(reinterpret_cast<PyObject*>(&PyRange_Type))(range.first, range.first + range.count);
}

void construct(Namespace* self, std::string model, std::string revision, std::string dtype, std::string layout,
               std::uint32_t block_tokens, std::uint64_t block_bytes, nb::handle layers, nb::handle heads,
               std::string salt, const std::optional<std::map<std::string, std::string>>& extras) {
  NamespaceSpec spec{.model = std::move(model),
                     .revision = std::move(revision),
                     .dtype = std::move(dtype),
                     .layout = std::move(layout),
                     .block_tokens = block_tokens,
                     .block_bytes = block_bytes,
                     .layers = range_of(layers, "layers"),
                     .heads = range_of(heads, "heads"),
                     .salt = std::move(salt),
                     .extras = {}};
  if (extras) spec.extras.assign(extras->begin(), extras->end());
  new (self) Namespace(unwrap(Namespace::create(std::move(spec))));
}

}  // namespace

void bind_namespaces(nb::module_& m) {
  nb::class_<Namespace>(m, "Namespace",
                        "Everything that must agree before two engines may share a block. No field has a default; a "
                        "wrong one raises InvalidError and is named.")
      .def("__init__", &construct, nb::kw_only(), "model"_a, "revision"_a, "dtype"_a, "layout"_a, "block_tokens"_a,
           "block_bytes"_a, "layers"_a, "heads"_a, "salt"_a, "extras"_a.none() = nb::none(),
           nb::sig("def __init__(self, *, model: str, revision: str, dtype: str, layout: str, block_tokens: int, "
                   "block_bytes: int, layers: range, heads: range, salt: str, extras: Mapping[str, str] | None = None) "
                   "-> None"))
      .def_prop_ro(
          "id", [](const Namespace& ns) { return nb::bytes(ns.id().bytes.data(), ns.id().bytes.size()); },
          "16 bytes: the digest of all fields.")
      .def_prop_ro("block_bytes", &Namespace::block_bytes, "Bytes of a block.")
      .def_prop_ro("block_tokens", &Namespace::block_tokens, "Tokens of a block.")
      .def_prop_ro("model", [](const Namespace& ns) { return ns.spec().model; })
      .def_prop_ro(
          "layers", [](const Namespace& ns) { return range_object(*ns.spec().layers); },
          nb::sig("def layers(self) -> range"))
      .def_prop_ro(
          "heads", [](const Namespace& ns) { return range_object(*ns.spec().heads); },
          nb::sig("def heads(self) -> range"))
      .def(
          "__eq__", [](const Namespace& a, const Namespace& b) { return a.id() == b.id(); }, nb::is_operator())
      .def("__hash__", [](const Namespace& ns) { return std::hash<NamespaceId>{}(ns.id()) >> 1; })
      .def("__repr__", [](const Namespace& ns) {
        return "Namespace(" + ns.spec().model + ", block_tokens=" + std::to_string(ns.block_tokens()) +
               ", block_bytes=" + std::to_string(ns.block_bytes()) + ", id=" + ns.id().hex() + ")";
      });
}

}  // namespace reprise::python
