# The loop of preprocess_s1.sh and preprocess_s2.sh: products x areas x bands through gpt.sh. Source it after snap_lib.sh.

failed=0 done_runs=0 skipped=0 codes=()

# one_run ARGUMENTS OF gpt.sh: counts what became of it; dim holds the result
one_run() {
    local code=0
    dim=''
    # gpt.sh and everything below it read nothing from the list that the loop reads
    dim=$("$root/bash_scripts/gpt.sh" "$@" </dev/null) || code=$?
    case $code in
        0) done_runs=$((done_runs + 1)) ;;
        75) exit 75 ;;
        *) failed=$((failed + 1)); codes+=("$code"); return 1 ;;
    esac
}

# closing NAME [resumed]: one line, and the exit code: 0, 71 when some failed, their common code when all did, 72 without any run
closing() {
    say "$1: $done_runs done, $skipped skipped, $failed failed"
    if [ $failed -gt 0 ]; then
        if [ $done_runs -eq 0 ] && [ "$(printf '%s\n' "${codes[@]}" | sort -u | wc -l)" -eq 1 ]; then exit "${codes[0]}"; fi
        exit 71
    fi
    if [ $done_runs -eq 0 ] && [ $skipped -eq 0 ] && [ "${2:-}" != resumed ]; then
        die 72 "no product to work on." "Look into the folder; names begin with S1 or S2 and end with .zip or .SAFE."
    fi
    exit 0
}

# from_conf SENSOR CONF PART: runs and adopts what ./s2cr snap_plan lists
from_conf() {
    local sensor=$1 conf=$2 part=${3:+--part=$3} stage=preprocess_$1 plan record line id input arguments variables code
    plan=$(mktemp)
    # shellcheck disable=SC2064 # the name is known now
    trap "rm -f -- '$plan'" EXIT
    "$root/s2cr" snap_plan "$conf" --check --sensor "$sensor" ${part:+"$part"} >"$plan" || exit $?
    while IFS= read -r -d '' -u 3 record; do
        arguments=() variables=() id='' input=''
        while IFS= read -r line; do
            case $line in
                id=*) id=${line#*=} ;;
                input=*) input=${line#*=} ;;
                graph=* | out=*) printf -v "plan_${line%%=*}" '%s' "${line#*=}" ;;
                fail=*) say "$id: ${line#*=}" ;;
                skip=*) say "$id: ${line#*=}" ;;
                code=*) codes+=("${line#*=}") ;;
                env:*) export "${line#env:}" ;;
                option:*) arguments+=("${line#option:}") ;;
                var:*) variables+=("${line#var:}") ;;
            esac
        done <<<"$record"
        case $record in
            *$'\nfail='*) failed=$((failed + 1)); continue ;;
            *$'\nskip='*) skipped=$((skipped + 1)); continue ;;
        esac
        # shellcheck disable=SC2154 # set by printf -v above
        one_run "${arguments[@]}" "$plan_graph" "$input" "$plan_out" "${variables[@]}" || continue
        "$root/s2cr" "$stage" "$conf" --adopt "$dim" ${part:+"$part"} >/dev/null || {
            codes+=($?); failed=$((failed + 1)); done_runs=$((done_runs - 1))
        }
    done 3<"$plan"
    # an adoption records the products outside too; without any they would never reach the ledger, nor end as the stage does
    if [ $done_runs -eq 0 ]; then
        code=0
        "$root/s2cr" "$stage" "$conf" --outside-only ${part:+"$part"} >/dev/null || code=$?
        if [ $code -ne 0 ] && [ $failed -eq 0 ]; then exit $code; fi
    fi
    # an empty plan means that everything is done: without any download the plan itself ends with 66
    closing "preprocess_$sensor.sh" resumed
}

# geometries_of FILE: one WKT a line into the array geometries; empty lines and # are passed over
geometries_of() {
    local line
    geometries=()
    while IFS= read -r line || [ -n "$line" ]; do
        line=${line%$'\r'}
        case $line in '' | \#*) continue ;; esac
        [[ $line =~ ^(MULTI)?POLYGON ]] || die 66 "$1: '${line:0:40}' is no WKT polygon." "One POLYGON ((lon lat, ...)) a line."
        geometries+=("$line")
    done <"$1"
    [ ${#geometries[@]} -gt 0 ] || die 66 "$1: no polygon in it." "One POLYGON ((lon lat, ...)) a line."
}

# products_in FOLDER PATTERN PART: products of this part into the array products
products_in() {
    local i=1 n=1 number=0 path
    products=()
    [ -d "$1" ] || die 66 "$1: no such folder." "Name the folder with the products."
    if [ -n "$3" ]; then read -r i n <<<"$(part_of "$3")"; [ -n "$n" ] || exit 2; fi
    while IFS= read -r -d '' path; do
        if [ $((number % n + 1)) -eq "$i" ]; then products+=("$path"); fi
        number=$((number + 1))
    done < <(list_products "$1" "$2")
}

# run_id PRODUCT INDEX COUNT SUFFIX: name of one run; the number of the area only where there are several
run_id() {
    local name
    name=$(product_id "$1")
    if [ "$3" -gt 1 ]; then name=$name$(printf '_g%02d' "$2"); fi
    printf '%s%s\n' "$name" "${4:+_$4}"
}
