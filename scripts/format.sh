#!/usr/bin/env bash
# Formats, lints and type-checks everything: ./dev fmt and ./dev check.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
./dev fmt
exec ./dev check
