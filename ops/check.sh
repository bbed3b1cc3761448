#!/usr/bin/env bash
# Checks the alert rules, their unit tests, and that rules and dashboard name metrics that exist: ops/check.sh
# Needs Python 3 and promtool; tests/promtool.sh says where that comes from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

promtool=$(../tests/promtool.sh)
"$promtool" check rules alerts.yml
"$promtool" test rules alerts_test.yml
python3 check.py
