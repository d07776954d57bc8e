#!/usr/bin/env bash
# Build the binary for systems from glibc 2.28 on (Debian 10, Ubuntu 20.04, JetPack 5), in manylinux_2_28:
#
#   packaging/build_in_manylinux.sh               # for this machine's processor: x86_64 or aarch64
#   packaging/build_in_manylinux.sh aarch64       # for another one, where binfmt and QEMU are set up
#
# The Pythons of manylinux have no shared library, which PyInstaller needs, so AlmaLinux' own is used.
# Needs docker, or podman under that name. Results are in dist/.
set -euo pipefail
cd "$(dirname "$0")/.."
architecture=${1:-$(uname -m)}
docker run --rm --platform "linux/${architecture/x86_64/amd64}" --volume "$PWD:/source:ro" --volume "$PWD/dist:/result" \
    "quay.io/pypa/manylinux_2_28_$architecture" bash -euc '
        dnf install -y -q python3.12 python3.12-devel python3.12-pip binutils zstd make
        cp -r /source /build && cd /build && rm -rf build dist .venv
        make binary PYTHON=python3.12
        cp -r dist/. /result/
    '
