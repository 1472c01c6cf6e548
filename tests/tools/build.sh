#!/bin/bash
# Build the third-party parts that the tests need and a distribution may lack: a container engine with CDI, NVIDIA's
# container toolkit and a Debian root for machines without an image registry. Each goes into a cache outside the
# checkout, under a name that carries its pins, so that a changed pin builds anew and everything else is reused.
#
#   tests/tools/build.sh            build what is missing
#   tests/tools/build.sh --path     print the folders of the built programs, for PATH
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SCIENCEBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sciencebox}

pinned() { # folder of a tool's build, from its pins
    local digest
    digest=$(cat "$here/$1/go.mod" "$here/$1/go.sum" | sha256sum | cut -c1-12)
    echo "$cache/tools/$1-$digest"
}

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

build() { # tool, CGO_ENABLED, go build arguments...
    local tool=$1 cgo=$2 folder
    shift 2
    folder=$(pinned "$tool")
    if [ -e "$folder/finished" ]; then
        say "$tool: built already"
        return
    fi
    say "$tool: building (minutes)"
    rm -rf "$folder"
    mkdir -p "$folder"
    (cd "$here/$tool" && CGO_ENABLED=$cgo go build -mod=mod -trimpath "$@" -o "$folder/" "${packages[@]}")
    touch "$folder/finished"
}

if [ "${1:-}" = --path ]; then
    echo "$(pinned engine):$(pinned nvidia)"
    exit
fi

if ! command -v go > /dev/null; then
    echo "tests/tools: Go is needed to build the test tools (1.24 or newer; Debian: golang-go from backports)." >&2
    exit 1
fi

packages=(github.com/docker/docker/cmd/dockerd github.com/docker/docker/cmd/docker-proxy)
build engine 0 -tags 'netgo osusergo exclude_graphdriver_btrfs' \
    -ldflags '-s -w -X github.com/docker/docker/dockerversion.Version=28.5.2'

toolkit=github.com/NVIDIA/nvidia-container-toolkit/cmd
packages=("$toolkit/nvidia-ctk" "$toolkit/nvidia-cdi-hook" "$toolkit/nvidia-container-runtime")
build nvidia 1 -ldflags '-s -w'
say "tools are in $cache/tools"
