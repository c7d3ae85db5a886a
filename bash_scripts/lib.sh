# Shared by the bash scripts: strict mode, errors with a remedy, write-then-rename. Source it, do not run it.
set -euo pipefail

# die CODE MESSAGE REMEDY
die() { printf '%s\n%s\n' "$2" "$3" >&2; exit "$1"; }

# need_cmd NAME REMEDY
need_cmd() { command -v "$1" >/dev/null 2>&1 || die 77 "The program $1 is missing." "$2"; }

say() { printf '%s\n' "$*" >&2; }

# write_then_rename TARGET: standard input to TARGET, whole or not at all
write_then_rename() {
    local target=$1 temporary
    temporary=$(mktemp "${target}.XXXXXX")
    if cat >"$temporary" && sync "$temporary"; then mv -f "$temporary" "$target"; else rm -f "$temporary"; return 1; fi
}
