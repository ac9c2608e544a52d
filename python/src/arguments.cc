#include "arguments.h"

#include <chrono>
#include <cmath>
#include <string>
#include <string_view>

#include "buffers.h"

namespace nb = nanobind;

namespace reprise::python {
namespace {

constexpr double kLongest = 1e9;  // Seconds, some 31 years: beyond it nanoseconds would overflow.

// How errors call what is read.
struct Ids {
  std::string argument;
  std::string each;
};

[[noreturn]] void raise_bad_id(const Ids& ids, std::size_t index, const std::string& value) {
  throw nb::value_error(
      (ids.argument + "[" + std::to_string(index) + "] is " + value + "; " + ids.each + " ids are 0 to 4294967295")
          .c_str());
}

template <typename T>
std::vector<std::uint32_t> narrowed(const Ids& ids, const std::byte* data, std::size_t count) {
  std::vector<std::uint32_t> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, data + i * sizeof(T), sizeof(T));
    if (!std::in_range<std::uint32_t>(value)) raise_bad_id(ids, i, std::to_string(value));
    out[i] = static_cast<std::uint32_t>(value);
  }
  return out;
}

// The struct-module letter of a buffer's elements, or of a tensor's dtype; 0 for what is not an integer.
char letter_of(nb::handle ids) {
  if (PyObject_CheckBuffer(ids.ptr()) != 0) {
    const nb::object view = nb::steal(PyMemoryView_FromObject(ids.ptr()));
    if (!view.is_valid()) throw nb::python_error();
    const std::string format = nb::str(view.attr("format")).c_str();
    const std::size_t at = format.find_first_not_of("@=<");
    if (at == std::string::npos || at + 1 != format.size()) return 0;
    return std::string_view("iIlLqQ").find(format[at]) == std::string_view::npos ? '\0' : format[at];
  }
  nb::ndarray<> tensor;
  if (!nb::try_cast(ids, tensor)) return 0;
  const auto code = tensor.dtype().code;
  if (code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Int)) return 'q';
  return code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::UInt) ? 'Q' : '\0';
}

std::vector<std::uint32_t> ids_of_buffer(const Ids& ids, nb::handle object) {
  const char letter = letter_of(object);
  const HeldBuffer held(object, false, ids.argument);
  const bool is_signed = letter == 'i' || letter == 'l' || letter == 'q';
  if (letter == 0 || (held.item_bytes() != 4 && held.item_bytes() != 8)) {
    throw nb::value_error(
        (ids.argument + ": a buffer must hold 32- or 64-bit integers in the machine's order").c_str());
  }
  const std::size_t count = held.size() / held.item_bytes();
  const std::byte* data = held.data();
  if (held.item_bytes() == 4) {
    return is_signed ? narrowed<std::int32_t>(ids, data, count) : narrowed<std::uint32_t>(ids, data, count);
  }
  return is_signed ? narrowed<std::int64_t>(ids, data, count) : narrowed<std::uint64_t>(ids, data, count);
}

std::vector<std::uint32_t> ids_of(const Ids& ids, nb::handle object) {
  if (has_bytes(object)) return ids_of_buffer(ids, object);
  if (PySequence_Check(object.ptr()) == 0) {
    throw nb::type_error(
        (ids.argument + ": expected a sequence of ints or a buffer of 32- or 64-bit integers").c_str());
  }
  std::vector<std::uint32_t> out;
  const Py_ssize_t count = PySequence_Size(object.ptr());
  if (count > 0) out.reserve(static_cast<std::size_t>(count));
  for (nb::handle item : nb::borrow<nb::object>(object)) {
    const long long value = PyLong_AsLongLong(item.ptr());
    if (value == -1 && PyErr_Occurred() != nullptr) {
      if (PyErr_ExceptionMatches(PyExc_OverflowError) == 0) throw nb::python_error();
      PyErr_Clear();
      raise_bad_id(ids, out.size(), nb::str(item).c_str());
    }
    if (!std::in_range<std::uint32_t>(value)) raise_bad_id(ids, out.size(), std::to_string(value));
    out.push_back(static_cast<std::uint32_t>(value));
  }
  return out;
}

}  // namespace

Deadline deadline_of(std::optional<double> seconds) {
  if (!seconds || *seconds >= kLongest) return Deadline::never();
  if (std::isnan(*seconds)) throw nb::value_error("timeout is not a number; pass seconds, or None for no deadline");
  if (*seconds <= 0) return Deadline::now();
  return Deadline::after(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*seconds)));
}

std::vector<std::uint32_t> tokens_of(nb::handle tokens) {
  return ids_of({"tokens", "token"}, tokens);
}

std::vector<std::uint32_t> block_ids_of(nb::handle ids, const char* name) {
  return ids_of({name, "block"}, ids);
}

}  // namespace reprise::python
