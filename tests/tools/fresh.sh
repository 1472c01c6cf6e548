#!/bin/bash
# `make deploy` of this checkout's last commit on a Debian that has nothing yet: no Python, no engine, no systemd. The
# "server" is a privileged container of the tests' engine, in which the deployment installs an engine of its own.
#
#   tests/tools/fresh.sh [bookworm|trixie]      minutes; needs root and debootstrap
set -euo pipefail

suite=${1:-bookworm}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
eval "$(.venv/bin/python -m tests.engine.rig start)"
folder=$(mktemp -d /var/tmp/sciencebox-fresh-XXXX)
image=sciencebox/fresh-$suite
name=sciencebox-fresh

finish() {
    docker rm -fv "$name" > /dev/null 2>&1 || true
    rm -rf "$folder"
}
trap finish EXIT

if ! docker image inspect "$image" > /dev/null 2>&1; then
    debootstrap --variant=minbase "$suite" "$folder/root" > /dev/null
    tar -C "$folder/root" -c . | docker import - "$image" > /dev/null
    rm -rf "$folder/root"
fi
git clone --quiet "$root" "$folder/sciencebox"
# An administrator behind an inspecting proxy has installed its certificates.
mkdir -p /usr/local/share/ca-certificates
docker rm -fv "$name" > /dev/null 2>&1 || true
docker run --detach --privileged --name "$name" --hostname fresh --volume /var/lib/docker \
    --volume "$folder/data:/var/lib/sciencebox" --volume "$folder/sciencebox:/root/sciencebox" \
    --volume /usr/local/share/ca-certificates:/usr/local/share/ca-certificates:ro "$image" sleep infinity > /dev/null
inside() { docker exec "$name" bash -c "$1"; }
inside 'export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates git make > /dev/null 2>&1
    update-ca-certificates > /dev/null'

echo "== make deploy on $suite"
time inside 'cd /root/sciencebox && make deploy'
echo "== again"
time inside 'cd /root/sciencebox && make deploy'
inside 'cd /root/sciencebox && make doctor && make status'
