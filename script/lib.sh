# shellcheck shell=bash
# What the scripts share: Debian packages, the person behind sudo, and the Python environment in .venv.
# Sourced by the scripts beside it.

set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv
PYTHONS=(python3.12 python3.11 python3)  # newest first; what constraints.txt has wheels for

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: $1"
    [ $# -lt 2 ] || say "  $2"
    exit 1
}

# The Debian packages among the arguments that are not installed, one a line.
missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

# Installs Debian packages that are missing: as root, or through sudo. Without either it says what to do.
need_packages() {
    local missing
    if ! command -v dpkg-query >/dev/null; then
        say "This is not Debian: please make sure that these are installed: $*"
        return
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -eq 0 ]; then
        "$ROOT/script/packages" "${missing[@]}"
    elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        sudo -- "$ROOT/script/packages" "${missing[@]}"
    else
        die "these Debian packages are missing, and installing them needs root or sudo: ${missing[*]}" \
            "Run this script with sudo once, or as root:  script/packages ${missing[*]}"
    fi
}

# True when the interpreter is one that the pinned packages are made for and can make an environment.
suitable() {
    "$1" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null
}

find_python() {
    local name
    for name in "${PYTHONS[@]}" /usr/bin/python3; do
        if command -v "$name" >/dev/null && suitable "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

# What an environment is made from: when any of it changes, the environment is brought up to date.
fingerprint() {
    { cat "$ROOT/constraints.txt" "$ROOT/pyproject.toml" && "$VENV/bin/python" -V && echo "$ROOT"; } 2>/dev/null |
        sha256sum | cut -d ' ' -f 1
}

# True when .venv was finished for what $1 (run or develop) needs.
environment_current() {
    [ -x "$VENV/bin/python" ] && [ ! -e "$VENV/.unfinished" ] &&
        [ "$(cat "$VENV/.ready-$1" 2>/dev/null)" = "$(fingerprint)" ]
}

# Packages for the Python environment; none when it is ready or a suitable Python is there already.
python_packages() {
    if ! environment_current "$1" && ! find_python >/dev/null; then
        printf '%s\n' python3 python3-venv ca-certificates
    fi
}

# Under sudo the rest of the script runs as the person who called it, so that the files are theirs.
# Usage: drop_to_caller "$@"
drop_to_caller() {
    local user home
    [ "$(id -u)" -eq 0 ] && [ "${SUDO_UID:-0}" -ne 0 ] || return 0
    user=$(id -un "$SUDO_UID")
    home=$(getent passwd "$user" | cut -d : -f 6)
    if ! setpriv --reuid "$user" --regid "$SUDO_GID" --init-groups test -w "$ROOT"; then
        say "$ROOT does not belong to $user: going on as root."
        return 0
    fi
    exec setpriv --reuid "$user" --regid "$SUDO_GID" --init-groups --inh-caps=-all -- \
        env -u XDG_RUNTIME_DIR -u SUDO_UID HOME="$home" USER="$user" LOGNAME="$user" "$0" "$@"
}

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }

make_environment() {
    local python extras=''
    [ "$1" = run ] || extras='[test,lint]'
    [ ! -e "$VENV" ] || [ -w "$VENV" ] || die "$VENV belongs to somebody else, so it cannot be changed" \
        "Remove it, as its owner or as root, and start again."
    if [ -e "$VENV/.unfinished" ] || ! suitable "$VENV/bin/python" || ! pip --version >/dev/null 2>&1; then
        python=$(find_python) || die "no Python 3.11 or 3.12 with venv was found" \
            "On Debian:  apt-get install python3 python3-venv"
        say "Making .venv with $("$python" -V) …"
        rm -rf -- "$VENV"
        mkdir -- "$VENV"
        touch "$VENV/.unfinished"
        "$python" -m venv "$VENV"
    fi
    touch "$VENV/.unfinished"
    rm -f -- "$VENV"/.ready-*
    say "Installing the Python packages of constraints.txt into .venv …"
    # Without build isolation the build uses what is pinned here, and no other copy is downloaded.
    pip install -q -c "$ROOT/constraints.txt" pip hatchling editables setuptools wheel
    pip install -q -c "$ROOT/constraints.txt" --no-build-isolation -e "$ROOT$extras"
    # The test client aioxmpp asks for an lxml that is too old for the product; what else it needs is among the extras.
    [ "$1" = run ] || pip install -q -c "$ROOT/constraints.txt" --no-build-isolation --no-deps aioxmpp
    fingerprint >"$VENV/.ready-run"
    [ "$1" = run ] || cp -- "$VENV/.ready-run" "$VENV/.ready-$1"
    rm -f -- "$VENV/.unfinished"
}

lock() {
    flock -n "$1" 9 || { say "Another run is using or making .venv; waiting for it …" && flock "$1" 9; }
}

# Makes .venv ready for $1 (run or develop). Whoever uses .venv holds a shared lock until it ends, whoever changes it an
# exclusive one, so that runs at the same time do not destroy each other's environment.
need_environment() {
    exec 9<"$ROOT/script/lib.sh"
    lock -s
    until environment_current "$1"; do
        lock -x
        environment_current "$1" || make_environment "$1"
        lock -s
    done
}

# All of it in one call. Usage: setup run|develop [PACKAGE…] -- "$@"
setup() {
    local kind=$1 packages=()
    shift
    while [ "$1" != -- ]; do
        packages+=("$1")
        shift
    done
    shift
    mapfile -t -O "${#packages[@]}" packages < <(python_packages "$kind")
    need_packages "${packages[@]}"
    drop_to_caller "$@"
    need_environment "$kind"
}
