// The bytes a namespace's digest is taken over. The format is in docs/identity.md. Pure, callable from any thread.
#pragma once

#include <string>

#include "reprise/namespace.h"

namespace reprise {

/// REQUIRES: `spec` passed Namespace::create's checks, and its extras are sorted by key.
[[nodiscard]] std::string namespace_bytes(const NamespaceSpec& spec);

}  // namespace reprise
