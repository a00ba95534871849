#!/usr/bin/env bash
# One machine with eight GPUs and 64 CPUs: no cluster to set up, --ray starts one and stops it again.
set -euo pipefail

# A GPU each: eight checkpoints at a time.
lm-probe sweep EleutherAI/pythia-{410m,1b,1.4b,2.8b} --revisions log2 --out runs/pythia \
    --ray --gpus-per-task 1 --cpus-per-task 8

# Small models leave most of a GPU idle: three to a GPU.
lm-probe sweep EleutherAI/pythia-{14m,70m,160m} --revisions all --out runs/small \
    --ray --gpus-per-task 0.33 --cpus-per-task 2

# 12b holds 24 GB in bfloat16: spread over two GPUs, four checkpoints at a time.
lm-probe sweep EleutherAI/pythia-12b --revisions log2 --out runs/12b --dtype bfloat16 --device auto \
    --ray --gpus-per-task 2 --cpus-per-task 16
