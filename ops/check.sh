#!/usr/bin/env bash
# Checks the alert rules, their unit tests, that rules and dashboard name metrics that exist, and that
# docs/scaling.md has what cost.py prints: ops/check.sh
# Needs Python 3 and promtool; tests/promtool.sh says where that comes from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

promtool=$(../tests/promtool.sh)
"$promtool" check rules alerts.yml
"$promtool" test rules alerts_test.yml
python3 check.py
python3 cost.py --check ../docs/scaling.md
