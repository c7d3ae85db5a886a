# Shared by the SNAP scripts: memory and threads of the job, sizes, the installed version. Source it after lib.sh.

# to_mib SIZE: 8G, 512M, 1.5G, 700000K or plain MiB -> whole MiB; status 1 when it is no size
to_mib() {
    awk -v text="$1" 'BEGIN {
        if (text !~ /^[0-9]+(\.[0-9]+)?[KkMmGg]?$/) exit 1
        unit = tolower(substr(text, length(text))); factor = unit == "g" ? 1024 : unit == "k" ? 1 / 1024 : 1
        printf "%d\n", (text + 0) * factor
    }'
}

# job_threads: what the scheduler gave to the task, else the cores that this process may run on
job_threads() {
    if [ -n "${SNAP_THREADS:-}" ]; then printf '%s\n' "$SNAP_THREADS"
    elif [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then printf '%s\n' "$SLURM_CPUS_PER_TASK"
    elif [ -n "${PBS_NCPUS:-}" ]; then printf '%s\n' "$PBS_NCPUS"
    else env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc; fi
}

# job_memory_mib: the smallest of what the scheduler, the control group and the machine allow
job_memory_mib() {
    local smallest file value
    smallest=$(awk '/^MemTotal:/ {printf "%d\n", $2 / 1024}' "${MEMINFO:-/proc/meminfo}")
    if [ "${SLURM_MEM_PER_NODE:-0}" != 0 ]; then
        value=$(to_mib "$SLURM_MEM_PER_NODE") && [ "$value" -lt "$smallest" ] && smallest=$value
    elif [ "${SLURM_MEM_PER_CPU:-0}" != 0 ]; then
        value=$(to_mib "$SLURM_MEM_PER_CPU") && value=$((value * $(job_threads)))
        [ "$value" -lt "$smallest" ] && smallest=$value
    fi
    while IFS= read -r file; do
        if [ -r "$file" ]; then
            value=$(<"$file")
            # "max", and the huge number of older kernels, mean no limit
            if [[ $value =~ ^[0-9]+$ ]] && [ "${#value}" -le 15 ] && [ $((value / 1048576)) -lt "$smallest" ]; then
                smallest=$((value / 1048576))
            fi
        fi
    done < <(group_files)
    printf '%s\n' "$smallest"
}

# group_files: files with the memory limit of this process's control group and of all above it: batch systems set the
# limit on the job, and the process is some levels below. Both kinds of kernel trees
group_files() {
    local root=${CGROUP:-/sys/fs/cgroup} groups=${CGROUP_SELF:-/proc/self/cgroup} path
    path=$(sed -n 's/^0:://p' "$groups" 2>/dev/null | head -n 1) || path=''
    while [ -n "$path" ] && [ "$path" != / ]; do printf '%s\n' "$root$path/memory.max"; path=${path%/*}; done
    printf '%s\n' "$root/memory.max"
    path=$(sed -n 's/^[0-9]*:[a-z,]*memory[a-z,]*://p' "$groups" 2>/dev/null | head -n 1) || path=''
    while [ -n "$path" ] && [ "$path" != / ]; do
        printf '%s\n' "$root/memory$path/memory.limit_in_bytes"
        path=${path%/*}
    done
    printf '%s\n' "$root/memory/memory.limit_in_bytes"
}

# share_of NUMBER FACTOR: whole part of the product
share_of() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%d\n", a * b}'; }

# find_gpt: SNAP_GPT, S2CR_GPT, else gpt on PATH; ends with 70 when there is none
find_gpt() {
    local found=${SNAP_GPT:-${S2CR_GPT:-}}
    if [ -z "$found" ]; then found=$(command -v gpt || true); fi
    if [ -z "$found" ] || ! command -v "$found" >/dev/null 2>&1; then
        die 70 "SNAP's gpt was not found${found:+ ($found)}." \
            "Install SNAP, load its module, or set snap.gpt (or SNAP_GPT) to it; the native engine needs none."
    fi
    command -v "$found"
}

# diag_value TEXT LABEL: what gpt --diag prints behind a label
diag_value() { sed -n "s/^ *$2: *//p" <<<"$1" | head -n 1; }

# diag_version TEXT: major version in the first line that names one
diag_version() { sed -n 's/.*[Vv]ersion[^0-9]*\([0-9][0-9]*\).*/\1/p' <<<"$(grep -i snap <<<"$1" || true)" | head -n 1; }

# diag_mib TEXT LABEL: a size of gpt --diag ("3.6 GB") in MiB, empty when it is not there
diag_mib() {
    local number unit
    read -r number unit <<<"$(diag_value "$1" "$2")" || true
    case ${unit:-} in
        GB | GiB) share_of "$number" 1024 ;;
        MB | MiB) share_of "$number" 1 ;;
    esac
}

# product_id PATH: the name of a product without .zip, .SAFE and the file inside a .SAFE folder
product_id() {
    local name=${1%/}
    case $name in */manifest.safe | */MTD_MSIL2A.xml) name=${name%/*} ;; esac
    name=${name##*/}; name=${name%.zip}; name=${name%.SAFE}
    printf '%s\n' "$name"
}

# list_products FOLDER PATTERN: NUL-separated products of a folder in the order of their names, never parsed from ls
list_products() {
    find "$1" -mindepth 1 -maxdepth 1 \( -name "$2.zip" -o -name "$2.SAFE" \) -print0 | LC_ALL=C sort -z
}

# part_of PART COUNT: checks i/N; prints i N
part_of() {
    local i n
    [[ $1 =~ ^([1-9][0-9]*)/([1-9][0-9]*)$ ]] || die 2 "PART is $1, not i/N." "For example PART=2/8."
    i=${BASH_REMATCH[1]} n=${BASH_REMATCH[2]}
    [ "$i" -le "$n" ] || die 2 "PART is $1: $i is larger than $n." "Use 1 <= i <= N."
    printf '%s %s\n' "$i" "$n"
}
