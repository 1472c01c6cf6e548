#!/bin/bash
# Build the software stack that the tests use, into a cache outside the checkout. A release only works at the path it
# was built for, so everything here happens in a mount namespace of its own, where the cache's folder is bound there.
# Needs root and Debian 12's Python. Does nothing, in a second or two, when the release is up to date.
#
#   tests/tools/stack.sh                   build what is missing, print the folder
#   tests/tools/stack.sh --path            print the folder
#   tests/tools/stack.sh --enter CMD...    run a command that sees the stack, read-only, at its published path
#
# SCIENCEBOX_TEST_STACK names another folder, SCIENCEBOX_CACHE another cache.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
cache=${SCIENCEBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sciencebox}
repository=/cvmfs/sciencebox.local
folder=${SCIENCEBOX_TEST_STACK:-$cache/stack$repository}
unset SCIENCEBOX_TEST_STACK
locked=$project/requirements/cvmfs.txt

inside() { # ro or rw, command...: run it where the folder is bound at the repository's path
    if [ "$(id -u)" != 0 ]; then
        echo "tests/tools/stack.sh: root is needed to bind $folder at $repository." >&2
        exit 1
    fi
    mkdir -p /cvmfs
    # A /cvmfs that this machine may have (an automounter's, say) is hidden inside and untouched outside.
    # shellcheck disable=SC2016  # expanded inside
    unshare --mount --propagation private sh -c '
        folder=$1 repository=$2 options=$3
        shift 3
        mount -t tmpfs -o mode=755 stack /cvmfs && mkdir "$repository" && mount --bind "$folder" "$repository" &&
            mount -o "remount,bind,$options" "$repository" || exit 1
        exec "$@"' inside "$folder" "$repository" "$@"
}

builder() { # print the Python that has what the builder imports, made once for each content of its lock
    local home uv
    home=$cache/tools/stack-$(sha256sum "$locked" | cut -c1-12)
    if [ ! -e "$home/finished" ]; then
        uv=$(PATH="$project/.venv/bin:$PATH" command -v uv) || {
            echo "tests/tools/stack.sh: uv is needed to make the builder; run \`make venv\` first." >&2
            exit 1
        }
        rm -rf "$home"
        # Debian's Python by its path: another one may be first on PATH.
        "$uv" venv --quiet --python /usr/bin/python3.11 "$home"
        "$uv" pip install --quiet --python "$home/bin/python" --require-hashes --requirements "$locked"
        touch "$home/finished"
    fi
    echo "$home/bin/python"
}

case ${1:-} in
    --path) echo "$folder" ;;
    --enter)
        shift
        if [ ! -d "$folder/lcg/views" ]; then
            echo "tests/tools/stack.sh: nothing is published in $folder; run tests/tools/stack.sh first." >&2
            exit 1
        fi
        inside ro "$@"
        ;;
    '')
        mkdir -p "$folder"
        python=$(builder)
        PYTHONPATH=$project/cvmfs inside rw "$python" -m sciencebox_stack build SB_1 --variant cpu \
            --root "$repository" --brainmri "$project/notebooks" >&2
        PYTHONPATH=$project/cvmfs inside rw "$python" -m sciencebox_stack prune --root "$repository" >&2
        echo "$folder"
        ;;
    *)
        echo "tests/tools/stack.sh: unknown option $1; use --path or --enter COMMAND." >&2
        exit 2
        ;;
esac
