#!/bin/sh
# Predict with a finished run: gan_predict.sh RUN_DIR DATASET_DIR [OUT_DIR]
# The published form also works: gan_predict.sh MODEL_DIR TRAINING_NUMBER WEIGHTS DATASET_DIR PREFIX [OUT_DIR]
# RUN_DIR is then MODEL_DIR/training_<TRAINING_NUMBER>, and the tiles go to OUT_DIR/<PREFIX>. WEIGHTS is ignored: a run
# has one exported network, the best by validation.
set -eu
usage="usage: gan_predict.sh RUN_DIR DATASET_DIR [OUT_DIR]"
for root in "${S2CR_ROOT:-}" "${SLURM_SUBMIT_DIR:-}" "${PBS_O_WORKDIR:-}" "$(dirname "$(readlink -f "$0")")"; do
    [ -n "$root" ] && [ -x "$root/s2cr" ] && break
    root=
done
[ -n "$root" ] || { echo "gan_predict.sh: the checkout is not found. Set S2CR_ROOT to its folder." >&2; exit 77; }
case $# in
2) exec "$root/s2cr" predict --run-dir "$1" --dataset "$2" ;;
3) exec "$root/s2cr" predict --run-dir "$1" --dataset "$2" --out "$3" ;;
5 | 6)
    echo "gan_predict.sh: weights '$3' are ignored; the exported network of the run is used." >&2
    run=$1/training_$2
    exec "$root/s2cr" predict --run-dir "$run" --dataset "$4" --out "${6:-$run/pred}/$5"
    ;;
*) echo "gan_predict.sh: wrong number of arguments. $usage" >&2; exit 2 ;;
esac
