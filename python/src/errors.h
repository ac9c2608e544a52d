// Errors of the core become Python exceptions: the one place where a Result turns into a throw.
//
// `Raised` is thrown inside binding code and translated by nanobind at the edge to Python, where the GIL is held.
#pragma once

#include <nanobind/nanobind.h>

#include <exception>
#include <string>
#include <utility>

#include "reprise/status.h"

namespace reprise::python {

class Raised : public std::exception {
 public:
  explicit Raised(Error error) : error_(std::move(error)) {}
  [[nodiscard]] const Error& error() const { return error_; }
  [[nodiscard]] const char* what() const noexcept override { return error_.message.c_str(); }

 private:
  Error error_;
};

/// The value, or a throw of its error.
template <typename T>
T unwrap(Result<T> result) {
  if (!result) throw Raised(std::move(result.error()));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// Throws Python's BufferError.
[[noreturn]] void raise_buffer_error(const std::string& message);

/// ErrorCode, Reason and the translation.
void bind_errors(nanobind::module_& m);

}  // namespace reprise::python
