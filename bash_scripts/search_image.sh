#!/usr/bin/env bash
# A worked example of a search: area, dates and cloud limit -> pairs -> a page to look at -> verified products.
# As it stands it is offline: it searches the products that the demo generates. Set the variables for a search of your own.
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
# shellcheck source=bash_scripts/lib.sh
. "$root/bash_scripts/lib.sh"
cd "$root"

usage() {
    cat <<'HELP'
Usage: bash_scripts/search_image.sh [--help] [--no-download]

Searches one area for a clear Sentinel-2 scene at two dates and the closest Sentinel-1 passes, shows what was found and
fetches it. Change it through the environment:

  ARCHIVE   folder of SAFE folders and zips       (default: the products of confs/demo.yaml, generated on first use)
  AREA      GeoJSON polygon in EPSG:4326          (default: the area of the demo)
  EPSG      UTM zone of the target grid           (default: 32755)
  T0, T1    first day and day after the last one  (default: "2019-10-30 2019-11-10", "2020-02-01 2020-02-07")
  CLOUD     largest cloud cover over the area at t0, percent (default: 1.0)
  WORK      where everything is written           (default: work/search_image)

Example, products of your own:
  ARCHIVE=/data/safe AREA=confs/aoi/nsw_south_coast.geojson T0="2019-11-03 2019-11-11" bash_scripts/search_image.sh
HELP
}

download=yes
for argument in "$@"; do
    case $argument in
        -h | --help) usage; exit 0 ;;
        --no-download) download=no ;;
        *) die 2 "$argument is no option of search_image.sh." "Run: bash_scripts/search_image.sh --help" ;;
    esac
done

# 1. Where the products are. The demo's scene is generated once: small products in the real formats, with decoys that a
#    search must refuse (too cloudy, one polarisation, another track, half of the area).
synthetic=false
if [ -z "${ARCHIVE:-}" ]; then
    say "search_image: generating the products of the demo (once, about a minute)"
    ./s2cr make_scene confs/demo.yaml >/dev/null
    ARCHIVE=work/demo/scene/archive AREA=${AREA:-work/demo/scene/area.geojson} synthetic=true
fi
[ -n "${AREA:-}" ] || die 2 "AREA is not set." "Set it to a GeoJSON polygon in EPSG:4326: AREA=... bash_scripts/search_image.sh"
WORK=${WORK:-work/search_image}

# 2. What is asked. A configuration needs only the keys that differ from the defaults; ./s2cr conf explain KEY tells of each.
#    The second date has no cloud limit: it is the one to simulate.
read -r t0_start t0_end <<<"${T0:-2019-10-30 2019-11-10}"
read -r t1_start t1_end <<<"${T1:-2020-02-01 2020-02-07}"
mkdir -p "$WORK"
conf=$WORK/search_image.yaml
write_then_rename "$conf" <<YAML
work: "$WORK"
area: {geojson: "$AREA", epsg: ${EPSG:-32755}}
dates:
  t0: {start: $t0_start, end: $t0_end}
  t1: {start: $t1_start, end: $t1_end}
search: {archive: "$ARCHIVE", max_cloud_aoi: ${CLOUD:-1.0}, limit: 3}
report: {synthetic: $synthetic}
YAML

# 3. The area first: a swapped or self-crossing polygon is told here, in a second.
./s2cr area "$conf" >/dev/null

# 4. The search. --explain prints why each candidate was refused; the page is made also when nothing was found, because then
#    it shows what came closest.
code=0
./s2cr find_images "$conf" --explain || code=$?

# 5. Look at it: footprints, timeline and ranks in one page, the area and the chosen footprints as GeoJSON, WKT and PNG.
./s2cr area "$conf" >/dev/null || [ $code -ne 0 ]
say "look at: $WORK/search/area/area.html"
[ $code -eq 0 ] || exit $code

# 6. Fetch the best pair. Every file is verified before it gets its name; running again fetches only what is missing.
[ $download = no ] || ./s2cr download "$conf"
