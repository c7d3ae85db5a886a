#!/usr/bin/env bash
# The chain from import to report on the real sample sets below S2CR_DATA; prints the scores of each, whatever they are;
# then burned-area maps of the real fires beside the known figures, and the strict split with its table in docs/results.md.
# Its two places run side by side and every finished fold is kept: stopped, the same command goes on.
#   SEEDS  1,2,3 by default    SETS  only these sample sets, no strict split    arguments go to ./s2cr strict
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
[ -z "${SETS:-}" ] || exit 0
say "== strict split"
seeds=${SEEDS:-1,2,3}
running=()
trap 'kill "${running[@]}" 2>/dev/null || true' EXIT
for place in belgium finland; do
    ./s2cr strict "confs/strict_$place.yaml" --seeds "$seeds" --part 1/1 &
    running+=($!)
done
for each in "${running[@]}"; do wait "$each"; done
./s2cr strict confs/strict_belgium.yaml confs/strict_finland.yaml --seeds "$seeds" --places "$@" --page docs/results.md
PYTHONPATH=$root "${S2CR_ENV:-.venv}/bin/python" -m bench results
