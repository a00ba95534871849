#!/usr/bin/env bash
# A SLURM of two machines in one: each in namespaces of its own, with its own name, network, processes and /tmp/ray.
# Run as root, with a folder, inside `unshare --net --mount --uts --pid --fork --mount-proc --kill-child`.
set -euo pipefail
folder="$1"
cd "$folder"
hostname control
mkdir -p state spool munge
chmod 711 "$folder" munge

{
    echo "127.0.0.1 localhost"
    echo "10.99.0.1 control"
    echo "10.99.0.11 node1"
    echo "10.99.0.12 node2"
} > hosts
mount --bind hosts /etc/hosts
ip link set lo up
ip link add bridge type bridge
ip addr add 10.99.0.1/24 dev bridge
ip link set bridge up

head -c 1024 /dev/urandom > munge/key
chmod 400 munge/key
munged --force --foreground --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
    --pid-file="$folder/munge/pid" --seed-file="$folder/munge/seed" --log-file="$folder/munge/log" &
until [ -S munge/socket ]; do sleep 0.1; done

cat > slurm.conf <<END
ClusterName=tiny
SlurmctldHost=control
SlurmUser=root
AuthInfo=socket=$folder/munge/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=requeue_delay=1
MpiDefault=none
MailProg=/bin/true
KillWait=60
NodeName=node[1-2] CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END

for number in 1 2; do
    # shellcheck disable=SC2016
    unshare --net --mount --uts --pid --fork --mount-proc --kill-child bash -c '
        hostname "node$1"
        mkdir -p /tmp/ray
        mount -t tmpfs none /tmp/ray
        touch "node$1.apart"
        until ip link show eth0; do sleep 0.1; done > /dev/null 2>&1
        ip link set lo up
        ip addr add "10.99.0.1$1/24" dev eth0
        ip link set eth0 up
        exec slurmd -D -N "node$1" -f "$PWD/slurm.conf"' bash "$number" > "node$number.log" 2>&1 &
    until [ -e "node$number.apart" ]; do sleep 0.1; done
    ip link add "veth$number" type veth peer name eth0 netns $!
    ip link set "veth$number" master bridge up
done
exec slurmctld -D -c -f "$PWD/slurm.conf" > slurmctld.log 2>&1
