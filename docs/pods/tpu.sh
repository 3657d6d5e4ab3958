#!/bin/bash
# Starts or stops main.py on every worker of a TPU VM slice.
# usage: tpu.sh start NAME ZONE FLAGS OF main.py | tpu.sh stop NAME ZONE
set -eu
action=$1 name=$2 zone=$3
shift 3

everywhere() {
  gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"
}

case $action in
  start)
    flags=$(printf '%q ' "$@")
    # Only main.py itself goes into the background: $! is its number and not that of a shell around it.
    everywhere "cd ~/alexnet_jax && { nohup python3 main.py $flags >> ~/alexnet.log 2>&1 < /dev/null & echo \$! > ~/alexnet.pid; }"
    ;;
  stop)
    # shellcheck disable=SC2016  # the worker expands it
    everywhere 'kill -TERM "$(cat ~/alexnet.pid)"'
    ;;
  *)
    echo "usage: tpu.sh start|stop NAME ZONE FLAGS" >&2
    exit 2
    ;;
esac
