// reprise._native: each topic binds itself.
#include <nanobind/nanobind.h>

#include "cache.h"
#include "chains.h"
#include "errors.h"
#include "keys.h"
#include "layout.h"
#include "leases.h"
#include "namespaces.h"
#include "stats.h"
#include "views.h"

NB_MODULE(_native, m) {
  // What lives until the interpreter ends, a tensor over the cache's memory in a global for example, is no leak.
  nanobind::set_leak_warnings(false);
  m.doc() = "The native half of reprise. Import names from `reprise`.";
  m.attr("__version__") = REPRISE_VERSION;
  reprise::python::bind_errors(m);
  reprise::python::bind_keys(m);
  reprise::python::bind_namespaces(m);
  reprise::python::bind_chains(m);
  reprise::python::bind_answers(m);
  reprise::python::bind_stats(m);
  reprise::python::bind_views(m);
  reprise::python::bind_leases(m);
  reprise::python::bind_cache(m);
  reprise::python::bind_layout(m);
}
