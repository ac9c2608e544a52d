#include "base/env.h"

#include "base/log.h"
#include "base/posix_env.h"
#include "base/uring_env.h"

namespace reprise {

std::string_view to_string(IoStatus status) {
  switch (status) {
    case IoStatus::kOk: return "ok";
    case IoStatus::kFailed: return "failed";
    case IoStatus::kShort: return "short";
    case IoStatus::kNoSpace: return "no space";
    case IoStatus::kNotFound: return "not found";
    case IoStatus::kDenied: return "denied";
    case IoStatus::kBusy: return "busy";
    case IoStatus::kTimeout: return "timeout";
  }
  return "unknown";
}

Result<std::unique_ptr<Env>> make_env(IoForm form) {
  if (form == IoForm::kPlain) return std::make_unique<PosixEnv>();
  auto env = UringEnv::make();
  if (env || form == IoForm::kUring) return env;
  log::warn(env.error().message + "; reading and writing one block after the other instead");
  return std::make_unique<PosixEnv>();
}

}  // namespace reprise
