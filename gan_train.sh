#!/bin/sh
#SBATCH --job-name=gan_train
#SBATCH --signal=B:USR1@120
# Train one model: gan_train.sh MODEL_YAML TRAIN_YAML
# Where there is a batch system it submits itself (queue, walltime and GPU lines: section hpc of the file that S2CR_HPC
# names, such as confs/hpc/slurm.yaml); in a job, without a batch system or with S2CR_SUBMIT=no it trains.
# sbatch gan_train.sh MODEL_YAML TRAIN_YAML works too; GPU lines then stand on that command line: sbatch --gres=gpu:1 ...
# The data are train_directory and val_directory of TRAIN_YAML. An interrupted training resumes with the same command.
set -eu
usage="usage: gan_train.sh MODEL_YAML TRAIN_YAML, for example gan_train.sh GAN_confs/model_resunet.yaml my_train.yaml"
[ "$#" -eq 0 ] && [ -n "${PBS_JOBID:-}" ] && usage="PBS passes no arguments to a script: run gan_train.sh in place of giving it to qsub."
[ "$#" -eq 2 ] || { echo "gan_train.sh: two files are needed. $usage" >&2; exit 2; }
# Batch systems run a copy from a spool folder: the checkout is S2CR_ROOT, else where the job was submitted, else here.
for root in "${S2CR_ROOT:-}" "${SLURM_SUBMIT_DIR:-}" "${PBS_O_WORKDIR:-}" "$(dirname "$(readlink -f "$0")")"; do
    [ -n "$root" ] && [ -x "$root/s2cr" ] && break
    root=
done
[ -n "$root" ] || { echo "gan_train.sh: the checkout is not found. Set S2CR_ROOT to its folder." >&2; exit 77; }
if [ -z "${SLURM_JOB_ID:-}${PBS_JOBID:-}" ] && [ "${S2CR_SUBMIT:-}" != no ] && "$root/s2cr" submit --check >/dev/null 2>&1; then
    exec "$root/s2cr" submit --gan-train "$1" "$2"
fi
exec "$root/s2cr" train --model "$1" --train "$2"
