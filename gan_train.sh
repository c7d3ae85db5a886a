#!/bin/sh
# Train one model: gan_train.sh MODEL_YAML TRAIN_YAML
# Run it, or give it to a batch system: sbatch gan_train.sh MODEL_YAML TRAIN_YAML
# The data are train_directory and val_directory of TRAIN_YAML. An interrupted training resumes with the same command.
set -eu
usage="usage: gan_train.sh MODEL_YAML TRAIN_YAML, for example gan_train.sh GAN_confs/model_resunet.yaml my_train.yaml"
[ "$#" -eq 2 ] || { echo "gan_train.sh: two files are needed. $usage" >&2; exit 2; }
# Batch systems run a copy from a spool folder: the checkout is S2CR_ROOT, else where the job was submitted, else here.
for root in "${S2CR_ROOT:-}" "${SLURM_SUBMIT_DIR:-}" "${PBS_O_WORKDIR:-}" "$(dirname "$(readlink -f "$0")")"; do
    [ -n "$root" ] && [ -x "$root/s2cr" ] && break
    root=
done
[ -n "$root" ] || { echo "gan_train.sh: the checkout is not found. Set S2CR_ROOT to its folder." >&2; exit 77; }
exec "$root/s2cr" train --model "$1" --train "$2"
