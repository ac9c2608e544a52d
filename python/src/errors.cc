#include "errors.h"

#include <nanobind/stl/string.h>

namespace nb = nanobind;

namespace reprise::python {
namespace {

// The classes are Python's (reprise/_errors.py), where they can have Python's own as bases.
const char* class_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid: return "InvalidError";
    case ErrorCode::kConfig: return "ConfigError";
    case ErrorCode::kVersion: return "VersionError";
    case ErrorCode::kDenied: return "DeniedError";
    case ErrorCode::kIo: return "IoError";
    case ErrorCode::kInternal: return "InternalError";
  }
  return "InternalError";
}

void translate(const std::exception_ptr& thrown, void* /*payload*/) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Raised& raised) {
    const nb::object type = nb::module_::import_("reprise._errors").attr(class_of(raised.error().code));
    PyErr_SetString(type.ptr(), raised.what());
  }
}

}  // namespace

void raise_buffer_error(const std::string& message) {
  throw nb::buffer_error(message.c_str());
}

void bind_errors(nb::module_& m) {
  nb::enum_<Reason>(m, "Reason", "Why an answer holds fewer blocks than were asked for.")
      .value("NONE", Reason::kNone, "Everything asked for is there.")
      .value("MISS", Reason::kMiss, "The next block is in no tier.")
      .value("HOLE", Reason::kHole, "The next block is missing although a later one is present.")
      .value("DECLINED", Reason::kDeclined, "The eviction policy values what it holds more than this block.")
      .value("FULL", Reason::kFull, "No room could be made: what is resident is leased.")
      .value("BUSY", Reason::kBusy, "A bounded queue or a quota is used up for now.")
      .value("TIMEOUT", Reason::kTimeout, "The deadline passed; what was ready by then is in the answer.")
      .value("CORRUPT", Reason::kCorrupt, "A stored copy failed its checksum and was dropped.")
      .value("FOREIGN", Reason::kForeign, "A stored copy belongs to something else and was not used.")
      .value("UNAVAILABLE", Reason::kUnavailable, "The tier is away or ejected for a while.")
      .value("EXPIRED", Reason::kExpired, "The lease ran out before the bytes were used.")
      .value("UNSUPPORTED", Reason::kUnsupported, "This cache or store does not offer the operation.");
  nb::enum_<ErrorCode>(m, "ErrorCode", "Why a call could not be carried out as written.")
      .value("INVALID", ErrorCode::kInvalid, "An argument contradicts the contract.")
      .value("CONFIG", ErrorCode::kConfig, "A configuration that cannot work.")
      .value("VERSION", ErrorCode::kVersion, "A format or protocol version this build does not read.")
      .value("DENIED", ErrorCode::kDenied, "Not permitted by the operating system or by credentials.")
      .value("IO", ErrorCode::kIo, "The operating system refused or failed an operation.")
      .value("INTERNAL", ErrorCode::kInternal, "A broken invariant inside Reprise: please report it.");
  nb::register_exception_translator(translate);
}

}  // namespace reprise::python
