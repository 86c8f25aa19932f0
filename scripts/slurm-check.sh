#!/bin/bash
# Runs a sweep on a real Slurm: a recipe of three tiny trainings is submitted, one training is killed while
# it runs, one is queued again by hand, one starts from another's weights; all must be finished in the end and
# their tables made. The killed run's weights must be those of a run that nothing disturbed.
#
#   scripts/slurm-check.sh [PROGRAM]     PROGRAM: the built `deeplpf`; without it, it is built.
#
# Uses the Slurm of this machine where one answers. Otherwise, as root and with Debian's packages slurm-wlm and
# munge, it starts a cluster of this one machine in a temporary folder and stops it at the end.
# SLURM_CHECK_LIMIT=1 adds a run through Slurm's time limit (four more minutes).
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "slurm-check: $*" >&2; exit 1; }

program=${1:-}
if [ -z "$program" ]; then
  cargo build --release -p deeplpf-cli
  program=target/release/deeplpf
fi
program=$(realpath "$program")
[ -x "$program" ] || fail "$program is no program; build it with cargo build --release -p deeplpf-cli"

room=$(mktemp -d)
started=()
end() {
  [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
  rm -rf "$room"
}
trap end EXIT

start_cluster() {
  for tool in slurmctld slurmd munged sbatch; do
    command -v "$tool" >/dev/null || fail "no Slurm answers and there is no $tool: apt-get install slurm-wlm munge"
  done
  [ "$(id -u)" -eq 0 ] || fail "no Slurm answers; starting one here needs root"
  local host; host=$(hostname -s)
  mkdir -p "$room/slurm/state" "$room/slurm/spool"
  cat > "$room/slurm/slurm.conf" <<CONF
ClusterName=check
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$room/slurm/state
SlurmdSpoolDir=$room/slurm/spool
SlurmctldPidFile=$room/slurm/slurmctld.pid
SlurmdPidFile=$room/slurm/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
MinJobAge=3600
SchedulerParameters=requeue_delay=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
  export SLURM_CONF=$room/slurm/slurm.conf
  pgrep -x munged >/dev/null || {
    mkdir -p /run/munge && chown munge: /run/munge
    su -s /bin/sh munge -c /usr/sbin/munged
    started+=("$(cat /run/munge/munged.pid)")
  }
  slurmctld -D > "$room/slurm/slurmctld.log" 2>&1 & started+=($!)
  slurmd -D > "$room/slurm/slurmd.log" 2>&1 & started+=($!)
  for _ in $(seq 60); do
    [ "$(sinfo -h -o %t 2>/dev/null | head -1)" = idle ] && return
    sleep 1
  done
  cat "$room"/slurm/*.log >&2
  fail "the cluster does not start"
}

if sinfo >/dev/null 2>&1; then
  echo "slurm-check: on the Slurm that answers ($(sinfo --version))"
else
  start_cluster
  echo "slurm-check: on a cluster of this machine ($(sinfo --version))"
fi

# Names with a blank and a quote: they go through the scripts.
mkdir "$room/it's here"
cd "$room/it's here"

# recipe EPOCHS: three runs long enough to be disturbed.
recipe() {
  cat <<RECIPE
title = "Slurm check"
description = "Three tiny runs."
shown = "one"
[test]
data = "sample"
[base]
epochs = $1
save_every = 5
initialisation = "identity"
[base.data]
source = "sample"
crop = 32
[base.model]
fixes = "all"
widths = [4, 4, 4, 4, 4]
features = 8
head_width = 8
head_size = 43
[[run]]
name = "one"
[[run]]
name = "two"
set = { seed = 2 }
[[run]]
name = "three"
set = { weights = "@runs/two", seed = 3 }
RECIPE
}

# wait_until SECONDS WHAT COMMAND...: until the command succeeds.
wait_until() {
  local seconds=$1 what=$2; shift 2
  for _ in $(seq $((seconds * 5))); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.2
  done
  squeue -a >&2 || true
  tail -n 5 results/slurm/*.log >&2 || true
  fail "waited ${seconds} s in vain until $what"
}
job_is() { scontrol show job -o "$1" | grep -q "JobState=$2"; }
restarted() { scontrol show job -o "$1" | grep -Eq "Restarts=$2"; }
log_says() { grep -q "$2" results/slurm/$1; }

recipe 400 > recipe.toml
"$program" reproduce recipe.toml -o undisturbed --only one > undisturbed.log 2>&1 || fail "$(tail -1 undisturbed.log)"

answer=$("$program" reproduce recipe.toml -o results --submit slurm --cpus-per-task 1 --time 30)
echo "$answer"
mapfile -t ids < <(sed -n 's/^job \([0-9]*\): .*/\1/p' <<< "$answer")
[ ${#ids[@]} -eq 3 ] || fail "three jobs should have been submitted"
first=${ids[0]} second=${ids[1]} table=${ids[2]}

# A record is a line; task 0 trains `one`, task 1 `two`.
wait_until 120 "run one trains" test -s results/runs/one/metrics.jsonl
pkill -KILL -f -- "--only one" || fail "the training of run one cannot be found"
echo "killed the training of run one"
wait_until 60 "the killed task is queued again" restarted "${first}_0" 1

wait_until 120 "run two trains" test -s results/runs/two/metrics.jsonl
scontrol requeue "${first}_1"
echo "queued run two again while it ran"
wait_until 60 "run two is queued again" restarted "${first}_1" 1

wait_until 600 "all is done" test -s results/table.md
wait_until 60 "the job of the tables has ended" job_is "$table" COMPLETED
for task in "${first}_0" "${first}_1" "${second}_0"; do
  job_is "$task" COMPLETED || fail "task $task is not completed"
done
cmp undisturbed/runs/one/checkpoints/best.safetensors results/runs/one/checkpoints/best.safetensors ||
  fail "the killed run's weights are not those of an undisturbed run"
echo "all runs are finished, the killed one with the bits of an undisturbed run; the table:"
cat results/table.md

if [ "${SLURM_CHECK_LIMIT:-0}" = 1 ]; then
  # Two minutes are the limit, so that 90 s before it comes after half a minute.
  recipe 20000 > limit.toml
  id=$("$program" reproduce limit.toml -o limited --submit slurm --cpus-per-task 1 --time 2 | sed -n 's/^job \([0-9]*\): .*/\1/p' | head -1)
  wait_until 180 "a task is queued again before its time limit" restarted "${id}_0" 1
  wait_until 60 "it trains on" grep -q "resum\|goes on" limited/slurm/train-"$id"_0.log
  scancel "$id"
  echo "a task went through its time limit and trains on"
fi
echo "slurm-check: passed"
