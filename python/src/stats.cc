#include "stats.h"

#include <nanobind/stl/string.h>

#include <string>
#include <tuple>

#include "reprise/cache.h"

namespace nb = nanobind;

namespace reprise::python {
namespace {

std::string text_of(const Match& m) {
  return "Match(blocks=" + std::to_string(m.blocks) + ", from_l1=" + std::to_string(m.from_l1) +
         ", from_l2=" + std::to_string(m.from_l2) + ", reason=" + std::string(to_string(m.reason)) + ")";
}

std::string text_of(const Stored& s) {
  return "Stored(accepted=" + std::to_string(s.accepted) + ", present=" + std::to_string(s.present) +
         ", declined=" + std::to_string(s.declined) + ", reason=" + std::string(to_string(s.reason)) + ")";
}

std::string text_of(const TierStats& t) {
  return "TierStats(name='" + t.name + "', blocks=" + std::to_string(t.blocks) +
         ", used_bytes=" + std::to_string(t.used_bytes) + ", capacity_bytes=" + std::to_string(t.capacity_bytes) +
         ", hits=" + std::to_string(t.hits) + ", evictions=" + std::to_string(t.evictions) + ")";
}

std::string text_of(const PyStats& s) {
  return "CacheStats(l1=" + text_of(s.l1) + ", l2=" + text_of(s.l2) + ", requested=" + std::to_string(s.requested) +
         ", declined=" + std::to_string(s.declined) + ", leases=" + std::to_string(s.leases) + ")";
}

auto parts_of(const Match& m) {
  return std::tuple(m.blocks, m.from_l1, m.from_l2, m.reason);
}

nb::dict reasons_of(const PyStats& stats) {
  nb::dict out;
  for (std::size_t i = 0; i < stats.reasons.size(); ++i) out[nb::cast(static_cast<Reason>(i))] = stats.reasons[i];
  return out;
}

}  // namespace

void bind_answers(nb::module_& m) {
  nb::class_<Match>(m, "Match", "How far a chain, or the common run of several, is usable.")
      .def_ro("blocks", &Match::blocks, "Length of the usable run, in blocks of each chain.")
      .def_ro("from_l1", &Match::from_l1, "Of the needed blocks of all chains: found in memory.")
      .def_ro("from_l2", &Match::from_l2, "Of the needed blocks of all chains: found behind it.")
      .def_ro("reason", &Match::reason, "Why the run ends before the chain does.")
      .def(
          "__eq__", [](const Match& a, const Match& b) { return parts_of(a) == parts_of(b); }, nb::is_operator())
      .def("__hash__",
           [](const Match& a) { return (a.blocks << 8) ^ (a.from_l2 << 4) ^ static_cast<std::size_t>(a.reason); })
      .def("__repr__", [](const Match& a) { return text_of(a); });
  nb::class_<Stored>(m, "Stored", "What became of offered blocks.")
      .def_ro("accepted", &Stored::accepted, "Newly stored in some tier.")
      .def_ro("present", &Stored::present, "Already there, or being stored by another call.")
      .def_ro("declined", &Stored::declined, "Not kept in any tier.")
      .def_ro("reason", &Stored::reason, "Why the first declined block was.")
      .def_prop_ro(
          "declined_blocks",
          [](const Stored& s) {
            nb::list out;
            for (const bool declined : s.declined_blocks) out.append(nb::bool_(declined));
            return out;
          },
          nb::sig("def declined_blocks(self) -> list[bool]"),
          "One entry per offered block, chain after chain; empty when none was declined.")
      .def("__repr__", [](const Stored& s) { return text_of(s); });
}

void bind_stats(nb::module_& m) {
  nb::class_<TierStats>(m, "TierStats", "One tier's counters; blocks, unless they say bytes.")
      .def_ro("name", &TierStats::name)
      .def_ro("capacity_bytes", &TierStats::capacity_bytes)
      .def_ro("used_bytes", &TierStats::used_bytes)
      .def_ro("blocks", &TierStats::blocks)
      .def_ro("hits", &TierStats::hits)
      .def_ro("read_bytes", &TierStats::read_bytes)
      .def_ro("writes", &TierStats::writes)
      .def_ro("write_bytes", &TierStats::write_bytes)
      .def_ro("evictions", &TierStats::evictions)
      .def_ro("corrupt", &TierStats::corrupt)
      .def_ro("foreign", &TierStats::foreign)
      .def_ro("errors", &TierStats::errors)
      .def("__repr__", [](const TierStats& t) { return text_of(t); });
  nb::class_<PyStats>(m, "CacheStats", "What a cache counted since it was opened: a snapshot.")
      .def_ro("l1", &PyStats::l1)
      .def_ro("l2", &PyStats::l2)
      .def_ro("requested", &PyStats::requested)
      .def_ro("declined", &PyStats::declined)
      .def_ro("leases", &PyStats::leases)
      .def_ro("leased_blocks", &PyStats::leased_blocks)
      .def_ro("leases_expired", &PyStats::leases_expired)
      .def_ro("touches_dropped", &PyStats::touches_dropped)
      .def_ro("ingest_queued_bytes", &PyStats::ingest_queued_bytes)
      .def_ro("ingest_dropped", &PyStats::ingest_dropped)
      .def_ro("abandoned", &PyStats::abandoned)
      .def_ro("abandoned_running", &PyStats::abandoned_running)
      .def_ro("ejections", &PyStats::ejections)
      .def_ro("metadata_bytes", &PyStats::metadata_bytes)
      .def_ro("fixed_bytes", &PyStats::fixed_bytes)
      .def_ro("populated", &PyStats::populated)
      .def_ro("deferred_releases", &PyStats::deferred_releases,
              "Leases and reservations of this object that were left while views of them lived.")
      .def_prop_ro("reasons", &reasons_of, nb::sig("def reasons(self) -> dict[Reason, int]"),
                   "Answers of acquire and get that ended early, by reason.")
      .def("__repr__", [](const PyStats& s) { return text_of(s); });
}

}  // namespace reprise::python
