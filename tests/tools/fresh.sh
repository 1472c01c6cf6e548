#!/bin/bash
# `make deploy` of this checkout's last commit on a Debian or Ubuntu that has nothing yet: no Python and no engine. The
# "server" is a privileged container of the tests' engine, in which the deployment installs an engine of its own.
#
#   tests/tools/fresh.sh [bookworm|trixie|jammy|noble] [systemd]      minutes; needs root and debootstrap
set -euo pipefail

UBUNTU=http://archive.ubuntu.com/ubuntu
UBUNTU_KEYRING=ubuntu-keyring_2023.11.28.1_all.deb
UBUNTU_KEYRING_SHA256=36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8

suite=${1:-bookworm}
init=${2:-}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
eval "$(.venv/bin/python -m tests.engine.rig start)"
folder=$(mktemp -d /var/tmp/sciencebox-fresh-XXXX)
image=sciencebox/fresh-$suite${init:+-$init}
name=sciencebox-fresh

finish() {
    docker rm -fv "$name" > /dev/null 2>&1 || true
    rm -rf "$folder"
}
trap finish EXIT

bootstrap_debian() {
    debootstrap --variant=minbase ${init:+--include=systemd-sysv} "$suite" "$folder/root" > /dev/null
}

bootstrap_ubuntu() {
    curl -sfo "$folder/keyring.deb" "$UBUNTU/pool/main/u/ubuntu-keyring/$UBUNTU_KEYRING"
    echo "$UBUNTU_KEYRING_SHA256  $folder/keyring.deb" | sha256sum --check --quiet
    dpkg-deb --extract "$folder/keyring.deb" "$folder/keyring"
    # Every Ubuntu is bootstrapped by one script, of which an older debootstrap lacks only the newest names.
    debootstrap --variant=minbase ${init:+--include=systemd-sysv} --components=main,universe \
        --keyring="$folder/keyring/usr/share/keyrings/ubuntu-archive-keyring.gpg" \
        "$suite" "$folder/root" "$UBUNTU" /usr/share/debootstrap/scripts/jammy > /dev/null
    echo "deb $UBUNTU $suite-updates main universe" >> "$folder/root/etc/apt/sources.list"
}

if ! docker image inspect "$image" > /dev/null 2>&1; then
    case $suite in
        jammy | noble) bootstrap_ubuntu ;;
        *) bootstrap_debian ;;
    esac
    tar -C "$folder/root" -c . | docker import - "$image" > /dev/null
    rm -rf "$folder/root"
fi
git clone --quiet "$root" "$folder/sciencebox"
# An administrator behind an inspecting proxy has installed its certificates.
mkdir -p /usr/local/share/ca-certificates
docker rm -fv "$name" > /dev/null 2>&1 || true
first=(sleep infinity)
[ -z "$init" ] || first=(/sbin/init)
docker run --detach --privileged --name "$name" --hostname fresh --volume /var/lib/docker --volume /var/lib/containerd \
    ${init:+--volume /sys/fs/cgroup:/sys/fs/cgroup --tmpfs /run --tmpfs /run/lock --env container=docker} \
    --volume "$folder/data:/var/lib/sciencebox" --volume "$folder/sciencebox:/root/sciencebox" \
    --volume /usr/local/share/ca-certificates:/usr/local/share/ca-certificates:ro "$image" "${first[@]}" > /dev/null
inside() { docker exec "$name" bash -c "$1"; }
[ -z "$init" ] || inside 'until systemctl is-system-running 2> /dev/null | grep -Eq "running|degraded"; do :; done'
inside 'export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates git make > /dev/null 2>&1
    update-ca-certificates > /dev/null'

echo "== make deploy on $suite${init:+ with $init}"
time inside 'cd /root/sciencebox && make deploy'
echo "== again"
time inside 'cd /root/sciencebox && make deploy'
inside 'cd /root/sciencebox && make doctor && make status'
