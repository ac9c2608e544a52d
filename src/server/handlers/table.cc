// Which handler carries out which message.

#include "server/handlers.h"

namespace reprise {

Handler find_handler(wire::Type type) {
  switch (type) {
    case wire::Type::kPing: return handle_ping;
    case wire::Type::kOpenNamespace: return handle_open_namespace;
    case wire::Type::kMatch: return handle_match;
    case wire::Type::kAcquire: return handle_acquire;
    case wire::Type::kRelease: return handle_release;
    case wire::Type::kRenew: return handle_renew;
    case wire::Type::kAttach: return handle_attach;
    case wire::Type::kReserve: return handle_reserve;
    case wire::Type::kCommit: return handle_commit;
    case wire::Type::kAbandon: return handle_abandon;
    case wire::Type::kGet: return handle_get;
    case wire::Type::kPrefetch: return handle_prefetch;
    case wire::Type::kErase: return handle_erase;
    case wire::Type::kFlush: return handle_flush;
    case wire::Type::kGetStats: return handle_stats;
    default: return nullptr;
  }
}

}  // namespace reprise
