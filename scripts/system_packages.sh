# shellcheck shell=bash
# Installs what pip cannot: a compiler, Python's venv module and headers, a headless OpenGL.

install_system_packages() {
    local name
    local -a missing=()
    # The interpreter's own version: python3.12 needs python3.12-venv, whatever python3 is.
    name=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    command -v c++ >/dev/null || missing+=(g++)
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("$name-venv")
    "$python" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' \
        2>/dev/null || missing+=("$name-dev")
    opengl_present || missing+=(opengl)
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}

opengl_present() {
    "$python" - <<'END'
import ctypes, sys
for library in ("libOSMesa.so.8", "libOSMesa.so.6", "libEGL.so.1"):
    try:
        ctypes.CDLL(library)
        sys.exit(0)
    except OSError:
        pass
sys.exit(1)
END
}

# apt_install PACKAGE...: as root or through sudo. `opengl` stands for whichever this release has.
apt_install() {
    local -a as_root=()
    command -v apt-get >/dev/null || fail "missing: $*; install with this system's package manager and run again"
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
            fail "missing: $*, and neither root nor sudo is at hand; have an administrator install it and run again"
        fi
        as_root=(sudo)
    fi
    step "Reading the package lists" "apt-get update failed: mend it and run again" "${as_root[@]}" apt-get update -q
    # shellcheck disable=SC2046 # one word per package
    set -- $(package_names "$@")
    step "Installing $*" "apt-get could not install $*: do it by hand and run again" \
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

package_names() {
    local word
    for word in "$@"; do
        if [ "$word" != opengl ]; then
            echo "$word"
        elif apt-cache show libosmesa6 >/dev/null 2>&1; then
            echo libosmesa6
        else # Mesa dropped OSMesa in 2025
            echo libegl1 libegl-mesa0 libgl1-mesa-dri
        fi
    done
}
