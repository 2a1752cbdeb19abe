#!/usr/bin/env bash
# A study on SLURM: Ray over the nodes of one job, started and ended with it.
#
#   sbatch configs/clusters/slurm.sh configs/digits.yaml storage=/shared/runs resources.workers=2
#
# The words after the script go to `orchestrate ablate --config`: a study file and overrides. Submit from the top of the
# project, on a file system that all nodes share; `storage` has to be on one, too.
#
# TO CHANGE: the lines #SBATCH below (nodes, GPUs, CPUs, time, partition) and, where the environment is not ./.venv,
# ORCHESTRATE_VENV. Everything else follows from the allocation.
#
# AT 3 IN THE MORNING: two minutes before the time limit SLURM sends USR1 to this script. It asks the study to stop
# (checkpoints are written, the journal is closed) and puts the job back into the queue; the next start goes on from the
# journal. So a study may take longer than any limit allows. A node that is lost does not end the job (--no-kill):
# the study goes on with the others. Preempted jobs that SLURM requeues itself go on in the same way.
#
# The first node holds the head of Ray and the driver, which take no CPU or GPU from trials, and a worker like the others.

#SBATCH --job-name=ablation
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=08:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log

set -euo pipefail

MAX_RESTARTS=${MAX_RESTARTS:-100}     # a study that cannot go on must not circle in the queue for ever
NODES_WAIT_S=${NODES_WAIT_S:-300}     # how long the nodes may take to join
OBJECT_STORE_BYTES=${OBJECT_STORE_BYTES:-2000000000}  # of each node's memory; trials hardly use it
STOP_S=${STOP_S:-60}                  # how long the study may take to stop before it is told again, less politely

if [ $# -lt 1 ]; then
  echo "usage: sbatch $0 STUDY.yaml [KEY=VALUE ...]" >&2
  exit 2
fi
export PATH="${ORCHESTRATE_VENV:-$PWD/.venv}/bin:$PATH"

say() { echo "$(date '+%F %T') slurm.sh: $*"; }

# One token for all of your jobs, readable by you only. It is on the nodes because your home directory is.
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
if [ ! -s "$RAY_AUTH_TOKEN_PATH" ]; then
  (umask 077; mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")"
   python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH")
fi

# Other jobs, yours or others', may run on the same nodes: own port, own directory (Ray opens its own to everybody, so
# it is put into one that is yours alone).
scratch=$(mktemp -d "/tmp/ray-$SLURM_JOB_ID-XXXX")
ip=${HEAD_IP:-$(hostname -I 2>/dev/null | awk '{print $1}' || true)}
ip=${ip:-127.0.0.1}
port=$((20000 + 2 * (SLURM_JOB_ID % 5000)))
export RAY_ADDRESS="$ip:$port"

driver='' head='' workers='' requeue='' trapped='' hurry=''

end() {  # asks a process to end and waits until it has
  [ -n "$1" ] || return 0
  kill -TERM "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
end_ray() {
  trap - EXIT
  [ -z "$hurry" ] || wait "$hurry" 2>/dev/null || true  # sees at once that the study has ended
  end "$workers"
  end "$head"
  timeout 20 srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --overlap rm -rf "$scratch" 2>/dev/null || true
  rm -rf "$scratch"
}
trap end_ray EXIT

# shellcheck disable=SC2329  # called by the traps below
stop_study() {  # a first TERM: stop with checkpoints; a second one: at once
  trapped=yes
  [ -n "$driver" ] || return 0
  kill -TERM "$driver" 2>/dev/null || return 0
  (
    trap - EXIT USR1 TERM
    for signal in TERM KILL; do
      for ((i = 0; i < STOP_S * 5; i++)); do
        kill -0 "$driver" || exit 0
        sleep 0.2
      done
      kill -"$signal" "$driver"
      STOP_S=15
    done
  ) >/dev/null 2>&1 &
  hurry=$!
}
trap 'say "the time limit is near: stopping the study"; requeue=yes; stop_study' USR1
trap 'say "told to end: stopping the study"; requeue=""; stop_study' TERM

# The head: no CPUs, no GPUs, so that no trial lands on it; the dashboard is for this node only.
ray start --head --block --node-ip-address="$ip" --port="$port" --num-cpus=0 --num-gpus=0 \
  --dashboard-host=127.0.0.1 --dashboard-port=$((port + 1)) \
  --min-worker-port=0 --max-worker-port=0 --temp-dir="$scratch/ray" \
  --object-store-memory="$OBJECT_STORE_BYTES" --disable-usage-stats > "$scratch/head.log" 2>&1 &
head=$!
# Two of Ray's nodes that start at the same moment on one machine take the same socket: the head first.
for ((i = 0; i < NODES_WAIT_S * 5; i++)); do
  if grep -q 'Ray runtime started' "$scratch/head.log" || ! kill -0 "$head" 2>/dev/null; then break; fi
  sleep 0.2
done

# One worker a node, with the GPUs that SLURM gave it there.
# shellcheck disable=SC2016  # the variables are the node's, not this script's
start_worker='exec ray start --block --address="$RAY_ADDRESS" --num-cpus="${SLURM_CPUS_PER_TASK:-1}" \
  --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --min-worker-port=0 --max-worker-port=0 \
  --object-store-memory="$OBJECT_STORE_BYTES" --disable-usage-stats'
export OBJECT_STORE_BYTES
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
  --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --no-kill --kill-on-bad-exit=0 \
  bash -c "until (exec 3<>/dev/tcp/$ip/$port) 2>/dev/null; do sleep 1; done; $start_worker" \
  > "$scratch/workers.log" 2>&1 &
workers=$!

# Wait until every node has joined; start with those that have when it takes too long.
python - "$SLURM_JOB_NUM_NODES" "$NODES_WAIT_S" <<'PYTHON' &
import logging, os, sys, time

import ray

wanted, deadline = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while True:
    try:
        ray.init(address=os.environ["RAY_ADDRESS"], logging_level=logging.ERROR, log_to_driver=False)
        break
    except (ConnectionError, RuntimeError, ValueError):
        if time.monotonic() > deadline:
            sys.exit("the head of Ray did not start")
        time.sleep(1)
while True:
    joined = sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())
    if joined == wanted or (joined and time.monotonic() > deadline):
        break
    if time.monotonic() > deadline:
        sys.exit("no node joined")
    time.sleep(1)
print(f"{joined} of {wanted} nodes have joined")
PYTHON
driver=$!

# The exit code of a process. `wait` returns early when a signal arrives: it is asked again.
outcome() {
  local code=0 again
  while :; do
    trapped=''
    wait "$1" && again=0 || again=$?
    [ "$again" -eq 127 ] || code=$again  # 127: it had ended before the signal came, with the code already known
    [ -n "$trapped" ] || return "$code"
  done
}
outcome "$driver" && code=0 || code=$?
if [ "$code" -eq 0 ] && [ -z "$requeue" ]; then
  orchestrate ablate --address "$RAY_ADDRESS" --config "$@" &
  driver=$!
  outcome "$driver" && code=0 || code=$?
elif [ -z "$requeue" ]; then
  say "Ray did not come up:"
  tail -n 20 "$scratch/head.log" "$scratch/workers.log" >&2
fi
driver=''

stopped=''
case $code in 130 | 137 | 143) stopped=yes ;; esac  # by a signal; any other code is the study's own end
if [ -n "$requeue" ] && [ -n "$stopped" ]; then
  if [ "${SLURM_RESTART_COUNT:-0}" -ge "$MAX_RESTARTS" ]; then
    say "not put back into the queue: this was restart $SLURM_RESTART_COUNT of at most $MAX_RESTARTS"
  else
    say "back into the queue; the study goes on from its journal"
    end_ray
    trap '' TERM  # the requeue itself ends this script
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
  fi
fi
say "the study ended with exit code $code"
exit "$code"
