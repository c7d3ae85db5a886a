#!/usr/bin/env bash
# The historic run for Sentinel-1: for each area of a text file, each product and both polarisations, one result.
set -euo pipefail
self=$(dirname "$(readlink -f "$0")")
case ${1:-} in -h | --help)
    cat <<'HELP'
Usage: bash_scripts/convert_sent1.sh --aoi AREAS.txt --dem DEM.tif --crs EPSG:32755 FOLDER OUTDIR

preprocess_s1.sh --per-pol under its historic name: OUTDIR/<product>[_g01]_VV.dimap and _VH.dimap, one for each polygon
of AREAS.txt (WKT, one a line). `make convert_sent1 CONF=...` runs the stage preprocess_s1 instead.

Example:
  bash_scripts/convert_sent1.sh --aoi areas.txt --dem dem.tif --crs EPSG:32755 raw out
HELP
    exit 0 ;;
esac
exec "$self/preprocess_s1.sh" --per-pol "$@"
