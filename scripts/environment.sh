# shellcheck shell=bash
# Sourced by scripts/demo and scripts/test, in the root of the repository: finds a Python (PYTHON names another
# one), and keeps .venv in step with a lock file. Nothing here prints anything unless it fails.

readonly venv=.venv

usable_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Sets $python.
find_python() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11)
    if [[ -n ${PYTHON:-} ]]; then
        candidates=("$PYTHON")
    fi
    for candidate in "${candidates[@]}"; do
        if usable_python "$candidate"; then
            python=$candidate
            return
        fi
    done
    echo "Python 3.11 or later is needed; name one with PYTHON=/path/to/python" >&2
    return 1
}

# Debian's own Python comes without the means to make a virtual environment.
can_make_venv() {
    "$python" -c 'import ensurepip' 2>/dev/null
}

venv_is_usable() {
    [[ -x $venv/bin/pip ]] && usable_python "$venv/bin/python"
}

make_venv() {
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

lock_digest() {
    sha256sum "$1" | cut -d ' ' -f 1
}

# A file in .venv says which lock was installed, so that the second run is quick.
lock_is_installed() {
    [[ -f $venv/installed.lock && $(<"$venv/installed.lock") == "$(lock_digest "$1")" ]]
}

install_lock() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r "$1" || return
    lock_digest "$1" >"$venv/installed.lock"
}
