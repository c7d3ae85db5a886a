#!/usr/bin/env bash
# Sentinel-1 products through SNAP: all of a configuration, or all of a folder for one or more areas.
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
# shellcheck source=bash_scripts/lib.sh
. "$root/bash_scripts/lib.sh"
# shellcheck source=bash_scripts/snap_lib.sh
. "$root/bash_scripts/snap_lib.sh"
# shellcheck source=bash_scripts/snap_loop.sh
. "$root/bash_scripts/snap_loop.sh"

usage() {
    cat <<'HELP'
Usage: bash_scripts/preprocess_s1.sh [--part i/N] CONF.yaml
       bash_scripts/preprocess_s1.sh [OPTIONS] --aoi FILE --dem DEM.tif --crs EPSG:32755 FOLDER OUTDIR

With a configuration: every Sentinel-1 product of its download goes through gpt and is adopted into preprocessed/; what
is done already is left alone. With a folder: each product, for each polygon of FILE (WKT, one a line), becomes
OUTDIR/<id>.dimap/<id>.dim; with several polygons the id ends in _g01, _g02 and so on.

  --part i/N         every N-th product, beginning with the i-th (also PART=i/N): for array jobs
  --aoi FILE         areas as WKT in EPSG:4326, longitude latitude; each is grown by 5 km
  --dem FILE         heights above EGM96 or EGM2008, GeoTIFF; with --ellipsoid above the ellipsoid
  --dem-nodata V     value of DEM.tif without height (default: -32768)
  --crs EPSG:CODE    UTM zone of the result
  --graph FILE       graph (default: snap-confs/s1_grd.xml)
  --annotation       keep the orbit of the product: the graph without the orbit node
  --ellipsoid        the graph that adds no geoid
  --per-pol          one run for each polarisation of --pols
  --pols "VV VH"     polarisations (default: VV VH)
  --speckle FILTER   None, Lee Sigma, Refined Lee, Lee, ... (default: Lee Sigma)
  -h, --help         this text

Heap, cache, threads and orbits: see bash_scripts/gpt.sh --help. Exit: 0, 71 when some products failed, 72 without any.

Examples:
  bash_scripts/preprocess_s1.sh confs/nsw_south_coast.yaml
  sbatch --array=1-8 --wrap 'bash_scripts/preprocess_s1.sh --part $SLURM_ARRAY_TASK_ID/8 confs/nsw_south_coast.yaml'
  SNAP_ORBITS=orbits bash_scripts/preprocess_s1.sh --aoi areas.txt --dem dem.tif --crs EPSG:32755 raw out
HELP
}

part=${PART:-} aoi='' dem='' nodata=-32768 crs='' graph='' annotation='' ellipsoid='' per_pol='' pols='VV VH' speckle='Lee Sigma'
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --annotation) annotation=yes; shift ;;
        --ellipsoid) ellipsoid=yes; shift ;;
        --per-pol) per_pol=yes; shift ;;
        --part | --aoi | --dem | --dem-nodata | --crs | --graph | --pols | --speckle)
            [ $# -ge 2 ] || die 2 "$1 needs a value." "Run: bash_scripts/preprocess_s1.sh --help"
            case $1 in
                --part) part=$2 ;;
                --aoi) aoi=$2 ;;
                --dem) dem=$2 ;;
                --dem-nodata) nodata=$2 ;;
                --crs) crs=$2 ;;
                --graph) graph=$2 ;;
                --pols) pols=$2 ;;
                --speckle) speckle=$2 ;;
            esac
            shift 2 ;;
        -*) die 2 "$1 is no option of preprocess_s1.sh." "Run: bash_scripts/preprocess_s1.sh --help" ;;
        *) break ;;
    esac
done
if [ -n "$part" ]; then part_of "$part" >/dev/null; fi
case $# in
    1) from_conf s1 "$1" "$part" ;;
    2) ;;
    *) die 2 "CONF, or FOLDER and OUTDIR, are needed; $# arguments were given." "Run: bash_scripts/preprocess_s1.sh --help" ;;
esac
[ -n "$aoi" ] && [ -n "$dem" ] && [ -n "$crs" ] || die 2 "--aoi, --dem and --crs are needed with a folder." "Run: bash_scripts/preprocess_s1.sh --help"
[ -f "$aoi" ] || die 66 "$aoi: no such file." "One POLYGON ((lon lat, ...)) a line."
[ -f "$dem" ] || die 66 "$dem: no such file." "Name a GeoTIFF of heights."
dem=$(readlink -f -- "$dem")
mkdir -p -- "$2"
grown=$(mktemp)
trap 'rm -f -- "$grown" "$grown.xml"' EXIT
"$root/s2cr" snap_region "$aoi" --crs "$crs" --grow 5000 >"$grown" || exit $?
geometries_of "$grown"
products_in "$1" 'S1*' "$part"
if [ -z "$graph" ]; then
    options=()
    if [ -n "$annotation" ]; then options+=(--orbit annotation); fi
    if [ -n "$ellipsoid" ]; then options+=(--heights ellipsoid); fi
    if [ -n "$per_pol" ]; then options+=(--per-polarisation); fi
    graph=$root/snap-confs/s1_grd.xml
    if [ ${#options[@]} -gt 0 ]; then
        graph=$grown.xml
        "$root/s2cr" snap_graph "${options[@]}" >"$graph" || exit $?
    fi
fi
read -r -a channels <<<"$pols"
common=("dem=$dem" "dem_nodata=$nodata" "crs=$crs" "speckle=$speckle")
for product in "${products[@]}"; do
    for index in "${!geometries[@]}"; do
        values=("aoi_wkt=${geometries[index]}" "${common[@]}")
        if [ -n "$per_pol" ]; then
            for channel in "${channels[@]}"; do
                id=$(run_id "$product" $((index + 1)) ${#geometries[@]} "$channel")
                one_run --id "$id" --pol "$channel" --band "Gamma0_$channel" --band layoverShadowMask \
                    "$graph" "$product" "$2" "${values[@]}" "pol=$channel" || true
            done
        else
            expected=()
            for channel in "${channels[@]}"; do expected+=(--pol "$channel" --band "Gamma0_$channel"); done
            id=$(run_id "$product" $((index + 1)) ${#geometries[@]} '')
            one_run --id "$id" "${expected[@]}" --band layoverShadowMask "$graph" "$product" "$2" "${values[@]}" || true
        fi
    done
done
closing preprocess_s1.sh
