#!/bin/bash
# Two nodes of eight GPUs; one task for each GPU. usage: sbatch slurm.sh FLAGS OF main.py
#SBATCH --job-name=alexnet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append

set -u
# Proxies would stand between the processes.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY

# Slurm gives USR1 to this script alone, five minutes before its time is up. The tasks get TERM then, on which they save
# and end with 3; by scancel, since srun itself, given TERM, would kill them.
time_is_up=
trap 'time_is_up=yes; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
# TERM is a person's, and the tasks have it too: only wait for them.
trap : TERM

# No --kill-on-bad-exit: the other tasks speak first, and end by themselves.
srun --kill-on-bad-exit=0 python main.py "$@" &
tasks=$!
# A trap ends a wait, and not the tasks; the last wait has their status also when they have ended.
while kill -0 "$tasks" 2> /dev/null; do
  wait "$tasks"
done
wait "$tasks"
status=$?
# 3: stopped with everything saved; 5: a peer was lost. srun gives the highest status of all tasks.
if [ "$status" -eq 5 ] || { [ "$status" -eq 3 ] && [ -n "$time_is_up" ]; }; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
