#!/usr/bin/env bash
# The chain from import to report on the real sample sets below S2CR_DATA; prints the scores of each, whatever they are;
# then burned-area maps of the real fires beside the known figures, the strict split, whose folds are kept, and its table in docs/results.md.
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
# shellcheck source=bash_scripts/lib.sh
. "$root/bash_scripts/lib.sh"
cd "$root"
[ -n "${S2CR_DATA:-}" ] || die 66 "S2CR_DATA is not set." "Set it to the folder of the real sample data: export S2CR_DATA=..."
[ -d "$S2CR_DATA" ] || die 66 "S2CR_DATA=$S2CR_DATA is no folder." "Correct it."
for name in ${SETS:-belgium finland two_dates}; do
    conf=confs/real_$name.yaml
    say "== $name"
    ./s2cr plan "$conf" --check 2>/dev/null || make --no-print-directory all CONF="$conf" ALLOW=all
    ./s2cr scores "$conf"
done
say "== fires"
[ ! -d "$S2CR_DATA/fires" ] || ./s2cr fires "$S2CR_DATA/fires"
[ -n "${SETS:-}" ] || ./s2cr strict confs/strict_belgium.yaml confs/strict_finland.yaml --places --page docs/results.md
[ -n "${SETS:-}" ] || PYTHONPATH=$root "${S2CR_ENV:-.venv}/bin/python" -m bench results
