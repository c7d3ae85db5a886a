#!/usr/bin/env bash
# Make the environment: conda or mamba where present, else a virtual environment with the system's GDAL.
#   S2CR_ENV=DIR  where (default .venv)    S2CR_ENV_TOOL=venv|conda  force a route    GPU=1  GPU build of TensorFlow
# Ends at once when the stamp of the last set-up is current.
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
# shellcheck source=bash_scripts/lib.sh
. "$root/bash_scripts/lib.sh"
cd "$root"

prefix=${S2CR_ENV:-$root/.venv}
requirements=env/requirements.txt
[ "${GPU:-0}" = 1 ] && requirements=env/requirements-gpu.txt
stamp_file=$prefix/.s2cr-stamp

stamp() {
    cat "$requirements" env/requirements-nodeps.txt env/clean_env.yml bash_scripts/env.sh | sha256sum | cut -d' ' -f1
    { gdal-config --version 2>/dev/null || echo "no system gdal"; } | head -n 1
    "$prefix/bin/python" --version
}

current() {
    [ -x "$prefix/bin/python" ] && [ -f "$stamp_file" ] && [ "$(stamp 2>/dev/null)" = "$(cat "$stamp_file")" ]
}

by_conda() {
    local tool
    tool=$(command -v mamba || command -v conda) || return 1
    say "env: $(basename "$tool") makes $prefix from env/clean_env.yml"
    "$tool" env create --yes --prefix "$prefix" --file env/clean_env.yml &&
        "$prefix/bin/python" -m pip install -q --no-build-isolation --no-deps -r env/requirements-nodeps.txt
}

system_packages() {
    local missing=()
    mapfile -t wanted < <(grep -v '^#' env/apt.txt)
    for package in "${wanted[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        command -v gdal-config >/dev/null && command -v g++ >/dev/null && return 0
        die 77 "GDAL's development files are missing and you are not root." \
            "Three ways out: ask for the packages ${missing[*]}; or 'module load gdal'; or install conda or mamba, then make env."
    fi
    say "env: installing ${#missing[@]} system packages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

find_python() {
    local candidate
    for candidate in /usr/bin/python3.11 python3.11 python3 python3.12 python3.13; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys, venv, ensurepip; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"; return
        fi
    done
    die 77 "No Python 3.11 or newer with venv was found." "Install python3-venv, or conda."
}

by_venv() {
    command -v apt-get >/dev/null && system_packages
    need_cmd gdal-config "Install GDAL's development package (libgdal-dev), or conda."
    need_cmd g++ "Install a C++ compiler (g++), or conda."
    local python numpy_headers version
    python=$(find_python)
    say "env: virtual environment in $prefix with $("$python" --version), GDAL $(gdal-config --version)"
    rm -rf "$prefix"
    "$python" -m venv "$prefix"
    local pip=("$prefix/bin/python" -m pip --disable-pip-version-check -q)
    "${pip[@]}" install "pip==25.3"
    "${pip[@]}" install -r "$requirements"
    # The binding is built after numpy and without isolation, or it lacks gdal_array; the first -I wins over the headers
    # of Debian's older numpy in Python's own include folder, also for C++ (CXXFLAGS: CFLAGS alone does not reach g++).
    numpy_headers=$("$prefix/bin/python" -c 'import numpy; print(numpy.get_include())')
    version=$(gdal-config --version)
    CFLAGS="-I$numpy_headers" CXXFLAGS="-I$numpy_headers" CPPFLAGS="-I$numpy_headers" \
        "${pip[@]}" install --no-build-isolation --no-cache-dir --no-binary GDAL "GDAL==$version"
    "${pip[@]}" install --no-build-isolation --no-deps -r env/requirements-nodeps.txt
}

current && exit 0
say "env: setting up (several minutes, about 2.5 GB)"
case ${S2CR_ENV_TOOL:-auto} in
    conda) by_conda || die 77 "conda or mamba could not make the environment." "Read its message above, or S2CR_ENV_TOOL=venv make env." ;;
    venv) by_venv ;;
    auto) if command -v mamba >/dev/null || command -v conda >/dev/null; then
              by_conda || { say "env: conda failed (its message is above); going on with a virtual environment"; by_venv; }
          else by_venv; fi ;;
    *) die 2 "S2CR_ENV_TOOL is '$S2CR_ENV_TOOL'." "Use venv or conda." ;;
esac
S2CR_ENV=$prefix ./s2cr doctor --env >&2
stamp | write_then_rename "$stamp_file"
say "env: ready"
