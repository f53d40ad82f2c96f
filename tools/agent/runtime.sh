#!/bin/sh
# Build the interpreter of the one-file agent: static, on musl, with its modules built in.
#   runtime.sh DIR      makes DIR/runtime/{bin/python3,lib/python3.11,licenses} and DIR/stub
# Needs musl-gcc, perl, make, dpkg-source and apt sources of Debian 12. Nothing outside of DIR is written.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)
jobs=$(nproc)
renice -n 10 $$ >/dev/null
export SOURCE_DATE_EPOCH=1700000000 LC_ALL=C TZ=UTC PYTHONHASHSEED=0
multiarch=$(gcc -print-multiarch)
case $multiarch in
x86_64-linux-gnu) target=linux-x86_64 ;;
aarch64-linux-gnu) target=linux-aarch64 ;;
*) echo "the one-file agent is made on x86_64 and aarch64, and this is $multiarch" >&2; exit 2 ;;
esac

step() { # step NAME: runs the function; its words go to a file, and the last ones are shown when it fails
    echo "  $1" >&2
    ("$1") >"$dir/$1.log" 2>&1 ||
        { tail -n 20 "$dir/$1.log" >&2; echo "$1 failed: see $dir/$1.log" >&2; exit 1; }
}

sources() {
    "$here/sources.sh" "$dir/src"
}
rm -rf "$dir/src" "$dir/prefix" "$dir/tools" "$dir/runtime"
mkdir -p "$dir/prefix/lib" "$dir/prefix/include" "$dir/tools/kernel" "$dir/runtime/bin" "$dir/runtime/licenses"
step sources

# The compiler: musl's headers first, then the kernel's.
ln -s /usr/include/linux /usr/include/asm-generic "$dir/tools/kernel/"
ln -s "/usr/include/$multiarch/asm" "$dir/tools/kernel/asm"
cat >"$dir/tools/agent-cc" <<END
#!/bin/sh
[ "\$*" != --print-multiarch ] || { echo ${multiarch%-gnu}-musl; exit; }
exec musl-gcc -idirafter "$dir/tools/kernel" -ffile-prefix-map="$dir"=. "\$@"
END
chmod +x "$dir/tools/agent-cc"
export PATH="$dir/tools:$PATH" CC=agent-cc # by name: OpenSSL writes down how it was compiled

zlib() {
    cd "$dir/src/zlib" && CFLAGS=-O2 ./configure --static && make -j"$jobs" libz.a &&
        cp zlib.h zconf.h "$dir/prefix/include/" && cp libz.a "$dir/prefix/lib/"
}
openssl() {
    # TLS of today, by the default provider, and nothing that would be loaded from files
    cd "$dir/src/openssl" && ./Configure $target -O2 no-shared no-tests no-dso no-engine no-legacy no-async no-afalgeng \
        no-comp no-ssl3 no-dtls no-srp no-idea no-seed no-camellia no-aria no-rc2 no-rc4 no-bf no-cast no-md4 no-mdc2 \
        no-whirlpool no-sm2 no-sm3 no-sm4 no-ui-console no-cms no-ts no-ct no-rfc3779 no-gost \
        --prefix=/usr --libdir=lib --openssldir=/etc/ssl && make -j"$jobs" build_libs &&
        cp -R include/openssl "$dir/prefix/include/" && cp libssl.a libcrypto.a "$dir/prefix/lib/"
}
python() {
    cd "$dir/src/python3.11" && cp "$here/modules.txt" Modules/Setup.local && cp "$here/module.c" Modules/_cockpit.c &&
        OPT="-DNDEBUG -fwrapv -O2" CFLAGS="-I$dir/prefix/include" \
            LDFLAGS="-static -L$dir/prefix/lib -Wl,-z,stack-size=2097152" LINKFORSHARED=" " \
            ./configure --prefix=/usr --disable-shared --disable-test-modules --without-ensurepip \
            --with-openssl="$dir/prefix" && make -j"$jobs" python && strip -o "$dir/runtime/bin/python3" python
}
stub() {
    $CC -O2 -Wall -static -s -I "$dir/prefix/include" -o "$dir/stub" "$here/stub.c" "$dir/prefix/lib/libz.a"
}
library() {
    # by the new interpreter, whose bytecode it is, with its own library: there may be no other Python here
    mkdir -p "$dir/src/home/lib" && ln -sfn "$dir/src/python3.11/Lib" "$dir/src/home/lib/python3.11" &&
        PYTHONHOME="$dir/src/home" "$dir/runtime/bin/python3" -S -B "$here/library.py" "$dir/src/python3.11/Lib" "$dir/runtime/lib/python3.11"
}
licenses() {
    cp "$dir/src/python3.11/LICENSE" "$dir/runtime/licenses/python"
    cp "$dir/src/openssl/LICENSE.txt" "$dir/runtime/licenses/openssl"
    sed -n '/Copyright notice/,/jloup@/p' "$dir/prefix/include/zlib.h" "$dir/src/zlib/README" >"$dir/runtime/licenses/zlib"
    cp /usr/share/doc/musl-dev/copyright "$dir/runtime/licenses/musl"
}
for name in zlib openssl python stub library licenses; do
    step $name
done
cat "$dir"/src/*.version >"$dir/versions"
dpkg-query -W -f '${Package} ${Version}\n' musl-dev gcc >>"$dir/versions"
rm -rf "$dir/src" "$dir/prefix" "$dir/tools"
