#!/usr/bin/env bash
# The programs that omni calls and the headers it compiles against. Missing ones are installed as root and named
# otherwise; this never fails, since whatever really stops the work says so itself.
#
#   scripts/system_packages.sh [PYTHON]
set -uo pipefail

python=${1:-python3}
packages=()
lost=()

need() { # need PACKAGE WHAT-IS-LOST-WITHOUT-IT TEST...
    local package=$1 loss=$2
    shift 2
    "$@" >/dev/null 2>&1 && return
    packages+=("$package")
    lost+=("$loss")
}

has_headers() {
    "$python" -c 'import pathlib, sysconfig; assert (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists()'
}

need python3-venv "the virtual environment" "$python" -c 'import ensurepip, venv'
need python3-dev "installing pesq, compiled decoding" has_headers
need g++ "installing pesq, compiled training and decoding" command -v g++
need ffmpeg "reading films (GIF and pictures need nothing)" command -v ffmpeg
need opus-tools "Opus beside our codec in the codec's measurements" command -v opusenc
need flite "word errors in a voice that the codec never heard" command -v flite
need espeak-ng "voices in many languages for omni data voice" command -v espeak-ng
need festival "the English preset voice of omni data voice" command -v festival
need festvox-us-slt-hts "the English preset voice of omni data voice" test -d /usr/share/festival/voices/us/cmu_us_slt_arctic_hts
need codec2 "Codec2 beside our codec in the codec's measurements" command -v c2enc

lists_are_there() { compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null; }

if ! command -v apt-get >/dev/null; then
    ((${#packages[@]} == 0)) || echo "make: no apt-get here; install with your own package manager: ${packages[*]}"
    exit 0
fi

if [[ $(id -u) -ne 0 ]]; then
    lists_are_there || echo "make: ask your administrator for 'apt-get update': omni data fetch needs the package lists"
    if ((${#packages[@]})); then
        echo "make: not root; ask your administrator for: apt-get install ${packages[*]}. Without them you lose:"
        printf '  %s\n' "${lost[@]}" | sort -u
    fi
    exit 0
fi

export DEBIAN_FRONTEND=noninteractive
lists_are_there || apt-get update -q || echo "make: apt-get update failed; omni data fetch will say what it lacks"
if ((${#packages[@]})); then
    install() { apt-get install -y -q --no-install-recommends "${packages[@]}"; }
    install || { apt-get update -q && install; } || {
        echo "make: apt-get could not install ${packages[*]} (see above). Without them you lose:"
        printf '  %s\n' "${lost[@]}" | sort -u
    }
fi
exit 0
