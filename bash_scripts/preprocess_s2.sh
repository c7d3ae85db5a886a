#!/usr/bin/env bash
# Sentinel-2 L2A products through SNAP: all of a configuration, or all of a folder for one or more areas.
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
# shellcheck source=bash_scripts/lib.sh
. "$root/bash_scripts/lib.sh"
# shellcheck source=bash_scripts/snap_lib.sh
. "$root/bash_scripts/snap_lib.sh"
# shellcheck source=bash_scripts/snap_loop.sh
. "$root/bash_scripts/snap_loop.sh"

usage() {
    cat <<'HELP'
Usage: bash_scripts/preprocess_s2.sh [--part i/N] CONF.yaml
       bash_scripts/preprocess_s2.sh [OPTIONS] --aoi FILE FOLDER OUTDIR

With a configuration: every Sentinel-2 product of its download goes through gpt and is adopted into preprocessed/ (a
comparison with the native reader included); what is done already is left alone. With a folder: each product, for each
polygon of FILE (WKT, one a line), becomes OUTDIR/<id>.dimap/<id>.dim; with several polygons the id ends in _g01, _g02 ...

  --part i/N         every N-th product, beginning with the i-th (also PART=i/N): for array jobs
  --aoi FILE         areas as WKT in EPSG:4326, longitude latitude
  --bands "B2 B8"    bands (default: B2 B3 B4 B8); a 20 m band such as B8A or B12 is resampled, from SNAP 11 on
  --per-band         one run for each band
  --graph FILE       graph (default: the one of snap-confs/ that fits)
  -h, --help         this text

Heap, cache and threads: see bash_scripts/gpt.sh --help. Exit: 0, 71 when some products failed, 72 without any.

Examples:
  bash_scripts/preprocess_s2.sh confs/nsw_south_coast.yaml
  bash_scripts/preprocess_s2.sh --aoi areas.txt --bands "B2 B3 B4 B8 B12" raw out
HELP
}

part=${PART:-} aoi='' graph='' per_band='' bands='B2 B3 B4 B8'
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --per-band) per_band=yes; shift ;;
        --part | --aoi | --graph | --bands)
            [ $# -ge 2 ] || die 2 "$1 needs a value." "Run: bash_scripts/preprocess_s2.sh --help"
            case $1 in
                --part) part=$2 ;;
                --aoi) aoi=$2 ;;
                --graph) graph=$2 ;;
                --bands) bands=$2 ;;
            esac
            shift 2 ;;
        -*) die 2 "$1 is no option of preprocess_s2.sh." "Run: bash_scripts/preprocess_s2.sh --help" ;;
        *) break ;;
    esac
done
if [ -n "$part" ]; then part_of "$part" >/dev/null; fi
case $# in
    1) from_conf s2 "$1" "$part" ;;
    2) ;;
    *) die 2 "CONF, or FOLDER and OUTDIR, are needed; $# arguments were given." "Run: bash_scripts/preprocess_s2.sh --help" ;;
esac
[ -n "$aoi" ] || die 2 "--aoi is needed with a folder." "Run: bash_scripts/preprocess_s2.sh --help"
[ -f "$aoi" ] || die 66 "$aoi: no such file." "One POLYGON ((lon lat, ...)) a line."
mkdir -p -- "$2"
geometries_of "$aoi"
products_in "$1" 'S2*' "$part"
read -r -a channels <<<"$bands"
coarse=''
for band in "${channels[@]}"; do case $band in B2 | B3 | B4 | B8) ;; *) coarse=yes ;; esac; done
if [ -z "$graph" ]; then
    if [ -n "$per_band" ]; then
        [ -z "$coarse" ] || die 65 "--per-band is for 10 m bands only: a resampled band needs a 10 m band beside it." "Leave --per-band out."
        graph=$root/snap-confs/s2_l2a_band.xml
    elif [ -n "$coarse" ]; then graph=$root/snap-confs/s2_l2a_20m.xml
    else graph=$root/snap-confs/s2_l2a.xml; fi
fi
for product in "${products[@]}"; do
    for index in "${!geometries[@]}"; do
        value="aoi_wkt=${geometries[index]}"
        if [ -n "$per_band" ]; then
            for band in "${channels[@]}"; do
                id=$(run_id "$product" $((index + 1)) ${#geometries[@]} "$band")
                one_run --id "$id" --band "$band" "$graph" "$product" "$2" "$value" "bands=$band" || true
            done
        else
            expected=()
            for band in "${channels[@]}"; do expected+=(--band "$band"); done
            id=$(run_id "$product" $((index + 1)) ${#geometries[@]} '')
            joined=$(IFS=,; printf '%s' "${channels[*]}")
            one_run --id "$id" "${expected[@]}" "$graph" "$product" "$2" "$value" "bands=$joined" || true
        fi
    done
done
closing preprocess_s2.sh
