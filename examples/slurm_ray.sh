#!/usr/bin/env bash
# A sweep over the nodes of one SLURM job. The same command, submitted again, goes on where it stopped.
#
#   sbatch --export=ALL,HF_HOME=/shared/hf examples/slurm_ray.sh EleutherAI/pythia-1.4b --revisions log2 --out runs/1.4b
#
#SBATCH --job-name=lm-probe
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
set -euo pipefail

: "${HF_HOME:?set it to a folder that all nodes share, or each node downloads every checkpoint}"
export RAY_USAGE_STATS_ENABLED=0
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # from Ray 2.60 on, nodes would outlive the sweep by half a minute
# Others on these nodes could otherwise run code as you. The token lies in ~/.ray, which all nodes see; Ray before 2.52
# has none.
export RAY_AUTH_MODE=token
ray get-auth-token --generate > /dev/null 2>&1 || true
cpus="${SLURM_CPUS_PER_TASK:?run this with sbatch}"
gpus="${SLURM_GPUS_ON_NODE:-0}"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head="${nodes[0]}" # the batch script itself runs here
port=$((20000 + SLURM_JOB_ID % 10000)) # two jobs may meet on a node

start() { # NODE, then how its Ray starts; it lives as long as the job. Since SLURM 22.05 a step must ask for its CPUs.
    local node="$1"
    shift
    srun --nodes=1 --ntasks=1 --nodelist="$node" --overlap --cpus-per-task="$cpus" \
        ray start "$@" --num-cpus="$cpus" --num-gpus="$gpus" --object-store-memory=200000000 --block &
}

start "$head" --head --port="$port" --include-dashboard=false
until (exec 3<>"/dev/tcp/$head/$port") 2> /dev/null; do
    kill -0 $! # Ray did not start: what it says stands above, and the job ends here
    sleep 1
done
for node in "${nodes[@]:1}"; do
    start "$node" --address="$head:$port" # one that is late is given work when it has come
done

# In the place of this script, so that it is the one who is told before the job ends.
exec lm-probe sweep --cpus-per-task "$((cpus / (gpus > 0 ? gpus : 1)))" "$@" --ray "$head:$port"
