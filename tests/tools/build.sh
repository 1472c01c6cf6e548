#!/bin/bash
# Build the third-party parts that the tests need and a distribution may lack: a container engine with CDI, NVIDIA's
# container toolkit, a client for CVMFS repositories, Helm, the control plane of Kubernetes, Kueue, an authority that
# speaks ACME, an OpenID Connect provider. Each goes into a cache outside the checkout, under a name that carries its
# pins, so that a changed pin builds anew and everything else is reused.
#
#   tests/tools/build.sh            build what is missing
#   tests/tools/build.sh --path     print the folders of the built programs, for PATH
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SCIENCEBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sciencebox}

pinned() { # folder of a tool's build, from its pins
    local digest
    digest=$(cat "$here/$1"/* | sha256sum | cut -c1-12)
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
    if [ "$tool" = kueue ]; then
        cp -r "$(cd "$here/kueue" && go list -mod=mod -m -f '{{.Dir}}' sigs.k8s.io/kueue)/config/components" "$folder/"
        chmod -R u+w "$folder"
    fi
    touch "$folder/finished"
}

# Changed in two places: other users than root may read what is mounted, as a session's user must, and a file of its
# cache is there when it is whole, and not while it is being written.
build_client() {
    local source work
    work=$(mktemp -d)
    cargo init --quiet --name fetch --vcs none "$work/fetch"
    (cd "$work/fetch" && cargo add --quiet "${client%-*}@=${client##*-}" && cargo fetch --quiet)
    source=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -maxdepth 2 -name "$client" | head -n 1)
    cp -r "$source" "$work/client"
    rm -f "$work/client/rust-toolchain.toml"
    sed -i 's/let mut config = Config::default();/&\nconfig.acl = fuser::SessionACL::All;/' \
        "$work/client/src/file_system.rs"
    sed -i 's/fs::write(cached_file, decompressed)?;/let part = format!("{cached_file}.{:?}", std::thread::current().id());\
fs::write(\&part, decompressed)?;\
fs::rename(\&part, cached_file)?;/' "$work/client/src/fetcher.rs"
    (cd "$work/client" && CARGO_TARGET_DIR=$work/target cargo build --quiet --release --locked --bin cvmfs-cli)
    mkdir -p "$client_folder/bin"
    cp "$work/target/release/cvmfs-cli" "$client_folder/bin/"
    rm -rf "$work"
}

client=cvmfs-0.4.2 # a crate that mounts repositories; its own lock pins what it is made from
client_folder=$cache/tools/$client-$(declare -f build_client | sha256sum | cut -c1-12)

if [ "${1:-}" = --path ]; then
    echo "$(pinned engine):$(pinned nvidia):$(pinned helm):$(pinned kubernetes):$(pinned kueue):$(pinned acme):$(pinned oidc):$client_folder/bin"
    exit
fi

if ! command -v go > /dev/null; then
    echo "tests/tools: Go is needed to build the test tools (1.25 or newer; Debian: golang-go from backports)." >&2
    exit 1
fi

packages=(github.com/docker/docker/cmd/dockerd github.com/docker/docker/cmd/docker-proxy)
build engine 0 -tags 'netgo osusergo exclude_graphdriver_btrfs' \
    -ldflags '-s -w -X github.com/docker/docker/dockerversion.Version=28.5.2'

toolkit=github.com/NVIDIA/nvidia-container-toolkit/cmd
packages=("$toolkit/nvidia-ctk" "$toolkit/nvidia-cdi-hook" "$toolkit/nvidia-container-runtime")
build nvidia 1 -ldflags '-s -w'

# Both are told their version, which their own makefiles do, too: without it Helm takes a cluster for Kubernetes 1.20.
packages=(helm.sh/helm/v3/cmd/helm github.com/yannh/kubeconform/cmd/kubeconform)
build helm 0 -ldflags '-s -w -X helm.sh/helm/v3/internal/version.version=v3.19.5
    -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34
    -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=34'

packages=(github.com/letsencrypt/pebble/v2/cmd/pebble github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv)
build acme 0 -ldflags '-s -w'

packages=(.)
build oidc 0 -ldflags '-s -w'

release=(-X k8s.io/VERSION.gitVersion=v1.34.4 -X k8s.io/VERSION.gitMajor=1 -X k8s.io/VERSION.gitMinor=34)
packages=(.)
build kubernetes 0 -ldflags "-s -w ${release[*]//VERSION/component-base/version} ${release[*]//VERSION/client-go/pkg/version}"

packages=(sigs.k8s.io/kueue/cmd/kueue)
build kueue 0 -ldflags '-s -w'

if [ -e "$client_folder/finished" ]; then
    say "$client: built already"
elif ! command -v cargo > /dev/null || ! pkg-config --exists fuse3; then
    say "$client: left out. It needs Rust (1.85 or newer) and FUSE (Debian: fuse3 libfuse3-dev pkg-config)."
else
    say "$client: building (minutes)"
    build_client
    touch "$client_folder/finished"
fi
say "tools are in $cache/tools"
