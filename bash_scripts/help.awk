# Prints the grouped help of the Makefile: "## title" lines are headings, "target: ... ## text" lines are entries.
/^## / { printf "\n%s\n", substr($0, 4); next }
/^[a-z0-9_%-]+:.* ## / {
    split($0, halves, " ## "); target = $0; sub(/:.*/, "", target)
    printf "  %-16s %s\n", target, halves[2]
}
