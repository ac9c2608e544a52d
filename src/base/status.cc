#include "reprise/status.h"

namespace reprise {

std::string_view to_string(Reason reason) {
  switch (reason) {
    case Reason::kNone: return "none";
    case Reason::kMiss: return "miss";
    case Reason::kHole: return "hole";
    case Reason::kDeclined: return "declined";
    case Reason::kFull: return "full";
    case Reason::kBusy: return "busy";
    case Reason::kTimeout: return "timeout";
    case Reason::kCorrupt: return "corrupt";
    case Reason::kForeign: return "foreign";
    case Reason::kUnavailable: return "unavailable";
    case Reason::kExpired: return "expired";
    case Reason::kUnsupported: return "unsupported";
  }
  return "unknown";
}

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid: return "invalid";
    case ErrorCode::kConfig: return "config";
    case ErrorCode::kVersion: return "version";
    case ErrorCode::kDenied: return "denied";
    case ErrorCode::kIo: return "io";
    case ErrorCode::kInternal: return "internal";
  }
  return "unknown";
}

}  // namespace reprise
