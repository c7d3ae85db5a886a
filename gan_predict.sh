#!/bin/sh
#SBATCH --job-name=gan_predict
#SBATCH --signal=B:USR1@120
# Predict with a finished run, then join the tiles: gan_predict.sh RUN_DIR DATASET_DIR [OUT_DIR]
# OUT_DIR (RUN_DIR/pred/<set> by default) gets one GeoTIFF a tile, and OUT_DIR/mosaic/<pair>/ one image a pair.
# The published form also works: gan_predict.sh MODEL_DIR TRAINING_NUMBER WEIGHTS DATASET_DIR PREFIX [OUT_DIR]
# RUN_DIR is then MODEL_DIR/training_<TRAINING_NUMBER>, and the tiles go to OUT_DIR/<PREFIX>. WEIGHTS is ignored: a run
# has one exported network, the best by validation.
# Where there is a batch system it submits itself, as gan_train.sh does; sbatch gan_predict.sh ... works too.
set -eu
usage="usage: gan_predict.sh RUN_DIR DATASET_DIR [OUT_DIR]"
[ "$#" -eq 0 ] && [ -n "${PBS_JOBID:-}" ] && usage="PBS passes no arguments to a script: run gan_predict.sh in place of giving it to qsub."
for root in "${S2CR_ROOT:-}" "${SLURM_SUBMIT_DIR:-}" "${PBS_O_WORKDIR:-}" "$(dirname "$(readlink -f "$0")")"; do
    [ -n "$root" ] && [ -x "$root/s2cr" ] && break
    root=
done
[ -n "$root" ] || { echo "gan_predict.sh: the checkout is not found. Set S2CR_ROOT to its folder." >&2; exit 77; }
case $# in
2 | 3) run=$1 dataset=$2 out=${3:-$1/pred/$(basename "$2")} ;;
5 | 6)
    echo "gan_predict.sh: weights '$3' are ignored; the exported network of the run is used." >&2
    run=$1/training_$2 dataset=$4
    out=${6:-$run/pred}/$5
    ;;
*) echo "gan_predict.sh: wrong number of arguments. $usage" >&2; exit 2 ;;
esac
if [ -z "${SLURM_JOB_ID:-}${PBS_JOBID:-}" ] && [ "${S2CR_SUBMIT:-}" != no ] && "$root/s2cr" submit --check >/dev/null 2>&1; then
    exec "$root/s2cr" submit --gan-predict "$run" "$dataset" "$out"
fi
# In the background, so that a signal for this shell can be passed on to the program that must save.
trap 'kill -USR1 "$child"' USR1
trap 'kill -TERM "$child"' TERM INT
"$root/s2cr" predict --run-dir "$run" --dataset "$dataset" --out "$out" &
child=$! code=0
wait "$child" || code=$?
while kill -0 "$child" 2>/dev/null; do code=0; wait "$child" || code=$?; done # a signal ends wait, not the child
[ "$code" -eq 0 ] || exit "$code"
trap - USR1 TERM INT
exec "$root/s2cr" mosaic --pred "$out" --dataset "$dataset" --out "$out/mosaic"
