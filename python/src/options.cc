#include "options.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"
#include "base/suggest.h"
#include "errors.h"

namespace nb = nanobind;

namespace reprise::python {
namespace {

std::string keyword_of(const OptionSpec& spec) {
  std::string name(spec.name);
  std::replace_if(name.begin(), name.end(), [](char c) { return c == '.' || c == '-'; }, '_');
  return name;
}

const OptionSpec& option_called(const std::string& keyword) {
  std::vector<std::string> names;
  for (const OptionSpec& spec : option_table()) {
    if (spec.of_server()) continue;
    names.push_back(keyword_of(spec));
    if (names.back() == keyword) return spec;
  }
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  throw nb::type_error(("Cache.open: no option '" + keyword + "'" + did_you_mean(keyword, candidates)).c_str());
}

std::string duration_in_ms(double seconds, const std::string& keyword) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) {
    throw nb::value_error((keyword + ": must be a number of seconds from 0 on").c_str());
  }
  return std::to_string(std::llround(seconds * 1000)) + "ms";
}

// The value as people would write it.
std::string text_of(const OptionSpec& spec, const std::string& keyword, nb::handle value) {
  if (nb::isinstance<nb::str>(value)) return nb::cast<nb::str>(value).c_str();
  if (value.ptr() == Py_True || value.ptr() == Py_False) return value.ptr() == Py_True ? "true" : "false";
  if (spec.type == OptionType::kDuration) {
    if (nb::hasattr(value, "total_seconds")) {
      return duration_in_ms(nb::cast<double>(value.attr("total_seconds")()), keyword);
    }
    if (nb::isinstance<nb::int_>(value) || nb::isinstance<nb::float_>(value)) {
      return duration_in_ms(PyFloat_AsDouble(value.ptr()), keyword);
    }
  }
  if (nb::isinstance<nb::int_>(value)) return nb::str(value).c_str();
  throw nb::type_error((keyword + ": cannot be " + nb::repr(value).c_str() + "; allowed: " + spec.range()).c_str());
}

}  // namespace

CacheOptions options_of(const nb::kwargs& arguments) {
  Options options;
  for (const auto& [name, value] : arguments) {
    const std::string keyword = nb::cast<nb::str>(name).c_str();
    const OptionSpec& spec = option_called(keyword);
    unwrap(set_option(spec, text_of(spec, keyword, value), keyword, options));
  }
  return options.cache;
}

}  // namespace reprise::python
