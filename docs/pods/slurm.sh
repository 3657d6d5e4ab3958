#!/bin/bash
# Two nodes of eight GPUs; one task for each GPU. usage: sbatch slurm.sh FLAGS OF main.py
#SBATCH --job-name=alexnet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append

set -u
# Proxies would stand between the processes.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
# No --kill-on-bad-exit: the other tasks speak first, and end by themselves.
srun --kill-on-bad-exit=0 python main.py "$@"
status=$?
# 3: stopped with everything saved; 5: a peer was lost. srun gives the highest status of all tasks.
if [ "$status" -eq 3 ] || [ "$status" -eq 5 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
