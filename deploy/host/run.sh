#!/bin/bash
# Runs the command line `sciencebox` on the server, from an environment of its own that is made here first.
#
#   deploy/host/run.sh COMMAND [ARGUMENTS]      SETTINGS=FILE picks another settings file
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=$checkout/.venv-host
requirements=$checkout/requirements/host.txt

fail() { echo "$*" >&2; exit 1; }

# Where the engine and the tools for packages are; `su` without a dash and cron leave it out.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

[ $# -gt 0 ] || fail "usage: deploy/host/run.sh COMMAND [ARGUMENTS]; COMMAND is one of \`make help\`, \`gpus\` or \`settings\`."

# A cluster is reached with the caller's own rights; on a server, commands are root's.
cluster=
case $1 in
    deploy-k8s | k8s-images)
        cluster=yes
        venv=${XDG_CACHE_HOME:-$HOME/.cache}/sciencebox/command-line
        mkdir -p "$(dirname "$venv")"
        ;;
esac
if [ -z "$cluster" ] && [ "$(id -u)" != 0 ]; then
    command -v sudo > /dev/null || fail "Run this as root; sudo is not installed."
    # By name: what stands on a command line is read by everybody, and a proxy's address may have a password.
    kept=
    for name in SETTINGS DOCKER_HOST HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy \
        PIP_INDEX_URL NPM_CONFIG_REGISTRY SCIENCEBOX_NVML; do
        [ -z "${!name:-}" ] || kept+=,$name
    done
    exec sudo ${kept:+"--preserve-env=${kept#,}"} "${BASH_SOURCE[0]}" "$@"
fi

command=$1
shift
case $command in
    demo) settings=$checkout/deploy/demo.yaml ;; # whatever SETTINGS says of the real service
    *) settings=${SETTINGS:-$checkout/deploy/sciencebox.yaml} ;;
esac

# Proxies and index of the settings are needed before anything can read the settings properly.
setting() { # value of a key of the section `network`, be that in lines of its own or in braces
    [ ! -r "$settings" ] || tr -d '\r' < "$settings" | sed -n "/^network *:/,/^[^ #]/ {
        s/^network *: *{/{/
        s/^  *{*/{/
        t values
        :values
        s/.*[{,] *$1 *: *\"\([^\"]*\)\".*/\1/p; t
        s/.*[{,] *$1 *: *'\([^']*\)'.*/\1/p; t
        s/.*[{,] *$1 *: *\([^\"' #,}][^\"' }]*\).*/\1/p
    }" | head -n 1
}
use() { # variable, key
    local value
    value=$(setting "$2")
    value=${value%,}
    case $value in
        "" | "~" | null | Null | NULL) ;; # as left out
        *) export "$1=$value" ;;
    esac
}
use HTTP_PROXY http_proxy
use HTTPS_PROXY https_proxy
use NO_PROXY no_proxy
use PIP_INDEX_URL python_index
[ -z "${HTTP_PROXY:-}" ] || export http_proxy=$HTTP_PROXY
[ -z "${HTTPS_PROXY:-}" ] || export https_proxy=$HTTPS_PROXY
[ -z "${NO_PROXY:-}" ] || export no_proxy=$NO_PROXY

new_enough() { python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null; }
has_venv() { python3 -c 'import venv, ensurepip' 2> /dev/null; }

if ! new_enough || ! has_venv; then
    { command -v apt-get && [ "$(id -u)" = 0 ]; } > /dev/null || fail "Install Python 3.10 or newer with its venv module, then run this again."
    echo "Installing Python ..."
    DEBIAN_FRONTEND=noninteractive apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends -oDPkg::Lock::Timeout=600 \
        python3 python3-venv > /dev/null \
        || fail "Python could not be installed; check the package sources (apt-get update), then run this again."
    new_enough || fail "Python 3.10 or newer is needed; this system has $(python3 --version)."
fi

# What the environment was made from: when that is unchanged, nothing is done, nor for an update of the same Python, which
# may come at night where nothing can be fetched. Of two commands at once one waits.
exec 9< "$(dirname "$venv")"
flock 9
made_from() {
    python3 -c 'import sys; print(*sys.version_info[:2])'
    cat "$requirements" "$checkout/spawner/pyproject.toml"
    echo "$checkout"
}
wanted=$(made_from | sha256sum)
if [ "$(cat "$venv/made-from" 2> /dev/null)" != "$wanted" ]; then
    echo "Preparing the command line in $venv ..." >&2
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$requirements" \
        || fail "Its libraries could not be installed; behind a proxy or mirror see the section network in $settings."
    # The package itself is used where it lies: a path file, so that no build tool has to be fetched.
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "$checkout/spawner" > "$site/sciencebox.pth"
    printf '#!%s\nfrom sciencebox.cli import app\napp()\n' "$venv/bin/python" > "$venv/bin/sciencebox"
    chmod 755 "$venv/bin/sciencebox"
    echo "$wanted" > "$venv/made-from"
fi
exec 9<&-

# By the interpreter's path: the first line of a script cannot name one in a folder with a space.
run() { exec "$venv/bin/python" "$venv/bin/sciencebox" "$@"; }
case $command in
    settings | --help | deploy-k8s | k8s-images) run "$command" "$@" ;;
esac
run "$command" --settings "$settings" "$@"
