#!/usr/bin/env bash
# One product through one gpt graph: checked before, proven after, and nothing left behind when it fails.
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
# shellcheck source=bash_scripts/lib.sh
. "$root/bash_scripts/lib.sh"
# shellcheck source=bash_scripts/snap_lib.sh
. "$root/bash_scripts/snap_lib.sh"

usage() {
    cat <<'HELP'
Usage: bash_scripts/gpt.sh [OPTIONS] GRAPH INPUT OUTDIR VAR=VALUE...

Runs SNAP's gpt on one product. The result is OUTDIR/<id>.dimap/<id>.dim; it appears whole or not at all. The variables
input and output are set here; every other variable of the graph must be given, and every given one must be used.

  --id NAME            name of the result (default: the name of the product)
  --band NAME          band that the result must hold (repeat it)
  --pol VV|VH          polarisation that the product must hold (repeat it)
  --orbit KIND         orbit that must have been applied: poeorb, resorb, annotation or any (default: what the graph asks for)
  --verify HOW         size, md5 or off: how the files of the product are checked (default: size)
  -h, --help           this text

Environment, all optional:
  SNAP_GPT             the gpt program (default: gpt on PATH)
  SNAP_VERSION         major version that it must have; without it, 10 to 15 will do
  SNAP_HEAP            heap of Java (default: 0.75 of the memory of the job)
  SNAP_CACHE           tile cache, below 0.75 of the heap (default: 0.5 of the heap)
  SNAP_THREADS         threads (default: SLURM_CPUS_PER_TASK, else the cores that the job may use)
  SNAP_USERDIR         folder for the user directory of this run (default: TMPDIR)
  SNAP_AUXDATA         shared auxdata folder of SNAP, read only: it is linked into the user directory
  SNAP_ORBITS          orbit file (.EOF), or folder of them, linked to where Apply-Orbit-File looks
  SNAP_LOGS            folder of the logs (default: OUTDIR/logs)
  KEEP_TMP=1           keep the temporary folders of a failed run

Exit: 65 settings or graph, 66 product, 69 disk (6 times the size of the product must be free), 70 gpt failed or did not
do what it was asked, 75 interrupted.

Examples:
  bash_scripts/gpt.sh --band B2 --band B8 snap-confs/s2_l2a.xml raw/S2A_MSIL2A_....zip out \
      bands=B2,B8 aoi_wkt="POLYGON ((149 -35, 149.2 -35, 149.2 -35.2, 149 -35.2, 149 -35))"
  SNAP_HEAP=24G SNAP_CACHE=10G bash_scripts/gpt.sh snap-confs/s1_grd_annotation.xml raw/S1A_IW_GRDH_....zip out \
      aoi_wkt="$(cat area.wkt)" dem="$PWD/dem.tif" dem_nodata=-32768 crs=EPSG:32755 speckle="Lee Sigma"
HELP
}

id='' orbit=auto verify=size bands=() pols=() checks=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --id | --band | --pol | --orbit | --verify)
            [ $# -ge 2 ] || die 2 "$1 needs a value." "Run: bash_scripts/gpt.sh --help"
            case $1 in
                --id) id=$2 ;;
                --band) bands+=(--band "$2") ;;
                --pol) pols+=(--pol "$2") ;;
                --orbit) orbit=$2 ;;
                --verify) verify=$2 ;;
            esac
            shift 2 ;;
        -*) die 2 "$1 is no option of gpt.sh." "Run: bash_scripts/gpt.sh --help" ;;
        *) break ;;
    esac
done
[ $# -ge 3 ] || die 2 "GRAPH, INPUT and OUTDIR are needed, $# were given." "Run: bash_scripts/gpt.sh --help"
graph=$(readlink -f -- "$1") input=$2 outdir=$3
shift 3
[ -f "$graph" ] || die 65 "$graph: no such graph." "Graphs are in snap-confs/."
[ -e "$input" ] || die 66 "$input: no such product." "Download it: make download CONF=..."
# gpt resolves a relative name against its own folder: absolute from here on
input=$(readlink -f -- "$input")
case $orbit in auto | poeorb | resorb | annotation | any) ;; *) die 2 "--orbit $orbit." "Use poeorb, resorb, annotation or any." ;; esac
id=${id:-$(product_id "$input")}
[[ $id =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || die 2 "--id $id is no file name." "Use letters, digits, dot, dash and underscore."

# Variables: given ones, as -P arguments and for the checker
given=() parameters=()
for pair in "$@"; do
    [[ $pair =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || die 2 "$pair is not VAR=VALUE." "Run: bash_scripts/gpt.sh --help"
    case ${pair%%=*} in input | output) die 2 "${pair%%=*} is set by gpt.sh." "Leave it out." ;; esac
    given+=("$pair") parameters+=("-P$pair")
done

# What Read is given: a zip as it is, of a .SAFE folder its main file
read=$input
if [ -d "$input" ]; then
    if [ -f "$input/MTD_MSIL2A.xml" ]; then read=$input/MTD_MSIL2A.xml; else read=$input/manifest.safe; fi
fi
name=$(product_id "$input")
if [ "$orbit" = auto ]; then
    case $name in
        S1*) if ! grep -q '<operator>Apply-Orbit-File<' "$graph"; then orbit=annotation
             elif grep -q '<orbitType>Sentinel Restituted' "$graph"; then orbit=resorb
             else orbit=poeorb; fi ;;
        *) orbit=any ;;
    esac
fi

# The program, its version, memory and threads. -Xmx is given here: gpt takes its heap from there, never from -c
gpt=$(find_gpt)
memory=$(job_memory_mib) threads=$(job_threads)
heap=$(to_mib "${SNAP_HEAP:-$(share_of "$memory" 0.75)M}") || die 65 "SNAP_HEAP is ${SNAP_HEAP:-}." "Write it as 24G or 6000M."
[ "$heap" -gt 0 ] && [ "$heap" -le "$memory" ] ||
    die 65 "The heap of $heap MiB is more than the $memory MiB that the job may use." "Lower snap.heap (SNAP_HEAP) or ask for more memory."
userbase=${SNAP_USERDIR:-${TMPDIR:-/tmp}}
mkdir -p -- "$userbase" "$outdir" || die 69 "$outdir or $userbase cannot be made." "Choose folders that you may write to."
outdir=$(readlink -f -- "$outdir") userbase=$(readlink -f -- "$userbase")
logs=${SNAP_LOGS:-$outdir/logs}
mkdir -p -- "$logs"
logs=$(readlink -f -- "$logs")
log=$logs/$id.gpt.log

final=$outdir/$id.dimap
host=$(hostname 2>/dev/null || uname -n)
tmp=$outdir/.tmp.$host.$$
userdir='' child=''

# shellcheck disable=SC2317 # called by the trap
clean() {
    local code=$?
    trap - EXIT INT TERM USR1
    if [ "${KEEP_TMP:-}" = 1 ] && [ $code -ne 0 ]; then
        say "KEEP_TMP: kept $tmp${userdir:+ and $userdir}"
    else
        rm -rf -- "$tmp"
        if [ -n "$userdir" ]; then rm -rf -- "$userdir"; fi
    fi
    exit $code
}
# shellcheck disable=SC2317 # called by the trap
interrupted() {
    if [ -n "$child" ]; then
        kill -TERM -- "-$child" 2>/dev/null || kill -TERM "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
    say "gpt.sh: interrupted while working on $id."
    say "Run the same command again."
    exit 75
}
trap clean EXIT
trap interrupted INT TERM USR1

# What killed runs of this host left behind. A number that another program has by now, or a dead process that nobody
# has collected, is not a running gpt.sh
for old in "$outdir/.tmp.$host."* "$userbase/s2cr-snap.$host."*; do
    pid=${old##*".$host."} pid=${pid%%.*}
    if [ -d "$old" ] && [ -O "$old" ] && ! grep -qs 'gpt\.sh' "/proc/$pid/cmdline" && [ "${KEEP_TMP:-}" != 1 ]; then
        rm -rf -- "$old"
    fi
done

userdir=$(mktemp -d -- "$userbase/s2cr-snap.$host.$$.XXXXXX")
java=("-J-Xmx${heap}M" "-J-Dsnap.userdir=$userdir")
diag=$("$gpt" --diag "${java[@]}" </dev/null 2>"$log") || {
    tail -n 20 -- "$log" >&2
    die 70 "$gpt --diag failed; see $log." "Check the installation: run it by hand."
}
found=$(diag_version "$diag")
version=${found:-${SNAP_VERSION:-}}
[ -n "$version" ] || die 70 "$gpt --diag does not name a version." "Set snap.version (SNAP_VERSION) to the major version of SNAP."
if [ -n "${SNAP_VERSION:-}" ] && [ "$version" != "$SNAP_VERSION" ]; then
    die 70 "$gpt is SNAP $version, snap.version asks for $SNAP_VERSION." "Load the right module, or correct snap.version."
fi
{ [ "$version" -ge 10 ] && [ "$version" -le 15 ]; } ||
    die 70 "$gpt is SNAP $version; the graphs are checked for 10 to 15." "Use one of those versions."
real=$(diag_mib "$diag" "Max memory")
if [ -n "$real" ] && [ "$real" -lt $((heap * 9 / 10)) ]; then
    say "gpt.sh: the heap is $real MiB, not the $heap MiB asked for: this gpt ignores -J-Xmx. Set -Xmx in its vmoptions file."
    heap=$real
fi
if [ -n "$real" ] && [ "$real" -gt $((memory * 21 / 20)) ]; then
    die 65 "gpt takes a heap of $real MiB from its vmoptions file; the job may use $memory MiB." \
        "Remove -Xmx from gpt.vmoptions: it wins over snap.heap (SNAP_HEAP)."
fi
cache=$(to_mib "${SNAP_CACHE:-$(share_of "$heap" 0.5)M}") || die 65 "SNAP_CACHE is ${SNAP_CACHE:-}." "Write it as 10G or 3000M."
if [ "$cache" -ge "$(share_of "$heap" 0.75)" ] || [ "$cache" -gt "$memory" ]; then
    die 65 "A cache of $cache MiB does not fit: it must be below 0.75 of the heap ($heap MiB; the job may use $memory MiB)." \
        "Lower snap.cache (SNAP_CACHE), or raise snap.heap (SNAP_HEAP)."
fi
[ "$cache" -gt 0 ] || die 65 "A cache of $cache MiB is none." "Raise snap.cache (SNAP_CACHE)."

# The graph, its variables and the product, before anything heavy
output=$tmp/$id.dim
checks=("$graph" --version "$version" --input "$input" --verify "$verify" "${pols[@]}" "input=$read" "output=$output" "${given[@]}")
"$root/s2cr" snap_check "${checks[@]}" >&2 || exit $?

# A result of the same settings is kept. Files that a variable or SNAP_ORBITS names count with size and time: a height
# raster or an orbit that was replaced under its old name makes another result
used=()
for pair in "${given[@]}"; do
    case ${pair#*=} in /*) if [ -f "${pair#*=}" ]; then used+=("file ${pair%%=*} $(stat -Lc '%s %.9Y' -- "${pair#*=}")"); fi ;; esac
done
orbits=()
if [ -n "${SNAP_ORBITS:-}" ]; then
    [ -e "$SNAP_ORBITS" ] || die 66 "$SNAP_ORBITS: no such orbit file or folder." "Run: ./s2cr fetch_orbits CONF"
    while IFS= read -r -d '' file; do
        orbits+=("$file") used+=("orbit ${file##*/} $(stat -Lc '%s %.9Y' -- "$file")")
    done < <(find "$(readlink -f -- "$SNAP_ORBITS")" -maxdepth 1 \( -name '*.EOF' -o -name '*.EOF.zip' \) -print0 | LC_ALL=C sort -z)
fi
size=$(du -sLb -- "$input" | cut -f 1)
settings=$(printf '%s\n' "snap $version" "graph $(sha256sum <"$graph" | cut -d ' ' -f 1)" "input $name $size" "orbit $orbit" \
    "orbits ${SNAP_ORBITS:-}" "${used[@]}" "${bands[*]}" "${given[@]}")
if [ -f "$final/settings.txt" ] && [ "$(<"$final/settings.txt")" = "$settings" ]; then
    say "gpt.sh: $final is there already"
    printf '%s\n' "$final/$id.dim"
    exit 0
fi

free=$(df -PB1 -- "$outdir" | awk 'NR == 2 {print $4}')
if [ "$free" -lt $((6 * size)) ]; then
    die 69 "$outdir: $((free / 1048576)) MiB are free, $((6 * size / 1048576)) MiB are needed (6 times the product $id)." \
        "Free disk space, or write to another disk."
fi

# A user directory of its own: runs that share one share caches and lock files. Shared data are linked into it.
mkdir -p -- "$userdir/auxdata"
if [ -n "${SNAP_AUXDATA:-}" ]; then
    [ -d "$SNAP_AUXDATA" ] || die 65 "$SNAP_AUXDATA: no such folder." "Correct snap.auxdata (SNAP_AUXDATA)."
    cp -rs -- "$(readlink -f -- "$SNAP_AUXDATA")/." "$userdir/auxdata/"
fi
# link_orbit FILE: SNAP looks in the folder of the month of the scene; a precise file begins on the day before
link_orbit() {
    local file=$1 base mission kind stamp folder
    base=${file##*/}
    [[ $base =~ ^(S1[A-Z])_OPER_AUX_(POEORB|RESORB)_OPOD_[0-9T]+_V([0-9]{6})[0-9T]+_([0-9]{6})[0-9T]+\.EOF(\.zip)?$ ]] || return 0
    mission=${BASH_REMATCH[1]} kind=${BASH_REMATCH[2]}
    for stamp in "${BASH_REMATCH[3]}" "${BASH_REMATCH[4]}"; do
        folder=$userdir/auxdata/Orbits/Sentinel-1/$kind/$mission/${stamp:0:4}/${stamp:4:2}
        mkdir -p -- "$folder"
        ln -sf -- "$file" "$folder/$base"
    done
}
for file in "${orbits[@]}"; do link_orbit "$file"; done

mkdir -p -- "$tmp"
say "gpt.sh: $id, SNAP $version, heap $heap MiB, cache $cache MiB, $threads threads; log $log"
begin=$SECONDS code=0
# a process group of its own, so that an interruption reaches Java behind gpt's launcher
setsid "$gpt" "$graph" -e -c "${cache}M" -q "$threads" "-Pinput=$read" "-Poutput=$output" "${parameters[@]}" "${java[@]}" \
    </dev/null >"$log.out" 2>"$log" &
child=$!
wait "$child" || code=$?
child=''
if [ $code -ne 0 ]; then
    say "--- last lines of $log"
    tail -n 20 -- "$log" >&2
    if grep -qi 'no space left\|disk quota' "$log"; then
        die 69 "gpt ran out of disk space on $id; its log is $log." "Free disk space, then run the same command again."
    fi
    die 70 "gpt ended with $code on $id; its log is $log." "Read the lines above; KEEP_TMP=1 keeps what it wrote."
fi
if [ -z "$(find "$userdir" -mindepth 1 -not -path "$userdir/auxdata*" -print -quit)" ]; then
    say "gpt.sh: warning, gpt left nothing in $userdir: it may have used another user directory (-J-Dsnap.userdir did not take)"
fi
proof=("$output" "${bands[@]}" --orbit "$orbit")
[ "$orbit" = any ] || proof+=(--input "$input")
reason=$("$root/s2cr" snap_verify "${proof[@]}" 2>&1) || {
    code=$?
    say "--- last lines of $log"
    tail -n 20 -- "$log" >&2
    say "its log is $log"
    say "$reason"
    exit $code
}
printf '%s\n' "$settings" >"$tmp/settings.txt"
cp -- "$graph" "$tmp/graph.xml"
sync -- "$tmp"/*.dim "$tmp/settings.txt" "$tmp/graph.xml"
# .dim and .data are never renamed, only the folder that holds both
if [ -e "$final" ]; then mv -T -- "$final" "$tmp.old"; rm -rf -- "$tmp.old"; fi
mv -T -- "$tmp" "$final"
say "gpt.sh: $id done in $((SECONDS - begin)) s"
printf '%s\n' "$final/$id.dim"
