#!/usr/bin/env bash
# Tests the alerts for Prometheus with promtool, which it takes from Debian's package
# of Prometheus, without installing that.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
	promtool=$root/.cache/prometheus/usr/bin/promtool
	if [ ! -x "$promtool" ]; then
		command -v apt-get >/dev/null || die "promtool not found: install Prometheus"
		say "downloading promtool"
		mkdir -p "$root/.cache/prometheus"
		cd "$root/.cache/prometheus"
		apt-get -qq download prometheus 2>/dev/null || { as_root apt-get -qq update && apt-get -qq download prometheus; }
		dpkg-deb --extract prometheus_*.deb .
		rm prometheus_*.deb
	fi
fi
"$promtool" check rules "$root/contrib/prometheus/rules.yaml"
"$promtool" test rules "$root/contrib/prometheus/rules_test.yaml"
