#include "cli/serve_command.h"

#include "cli/cache_target.h"

namespace reprise::cli {

int serve_command(ResolvedOptions options, const Services& services, Terminal& terminal, const StopFlag& stop) {
  if (options.server.listen_unix.empty() && options.server.listen_tcp.empty()) {
    options.server.listen_unix = kDefaultSocket;
    for (ResolvedOption& option : options.options) {
      if (option.spec->name != "listen.unix") continue;
      option.text = kDefaultSocket;
      option.where = "default";
    }
  }
  return services.serve(options, terminal, stop);
}

}  // namespace reprise::cli
