#!/usr/bin/env bash
# The historic run for Sentinel-2: for each area of a text file, each product and each of B2, B3, B4, B8, one result.
set -euo pipefail
self=$(dirname "$(readlink -f "$0")")
case ${1:-} in -h | --help)
    cat <<'HELP'
Usage: bash_scripts/convert_sent2.sh --aoi AREAS.txt FOLDER OUTDIR

preprocess_s2.sh --per-band under its historic name: OUTDIR/<product>[_g01]_B2.dimap and so on, one for each polygon of
AREAS.txt (WKT, one a line). `make convert_sent2 CONF=...` runs the stage preprocess_s2 instead.

Example:
  bash_scripts/convert_sent2.sh --aoi areas.txt raw out
HELP
    exit 0 ;;
esac
exec "$self/preprocess_s2.sh" --per-band "$@"
