#!/bin/sh
# Builds the kept library again from the source in this folder, as it was built once. Only for an ABI that was not released yet.
set -eu
cd "$(dirname "$0")"
cp ../../../Cargo.lock .
RUSTFLAGS="--remap-path-prefix=$HOME=~ --remap-path-prefix=$(cd ../../.. && pwd)=tinybase" \
    cargo build --release --target-dir ../../../target/abi-1.0
cp ../../../target/abi-1.0/release/libtinybase_abi_1_0.so package/libfrozen.so
cp extension.toml package/extension.toml
(cd package && sha256sum libfrozen.so extension.toml > SHA256SUMS)
