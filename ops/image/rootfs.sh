#!/bin/sh
# Puts together the root file system of the image, but for the transforms: rootfs.sh BINARY TRANSFORMS ROOT
#
# The Dockerfile's first stage and tests/real/test_image.py both run it, on Debian. Everything in it is root's.
set -eu

if [ $# != 3 ] || [ ! -x "$1" ] || [ ! -d "$2" ] || [ -e "$3" ]; then
  echo "usage: rootfs.sh BINARY TRANSFORMS ROOT; BINARY and TRANSFORMS must be there, ROOT must not" >&2
  exit 2
fi
binary=$1 transforms=$2 root=$3
umask 022

ls "$transforms"/*.wasm >/dev/null || {
  echo "there is no transform in $transforms: run \`tidemill build transforms --out $transforms\` first" >&2
  exit 1
}
install -D -m 0755 "$binary" "$root/usr/local/bin/tidemill"
install -D -m 0644 "$(dirname "$0")/../../LICENSE" "$root/usr/share/doc/tidemill/LICENSE"

# The C library and its like, as they are on this Debian. `ldd` prints `name => path (address)`, or a path alone for
# the loader, or a name alone for what the kernel brings.
libraries=$(ldd "$binary" | sed -n -e 's/.* => \(\/[^ ]*\) (.*/\1/p' -e 's/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p')
for library in $libraries; do
  case ${library##*/} in
    libc.so.* | libm.so.* | libgcc_s.so.* | ld-linux*.so.*) ;;
    *)
      echo "the binary needs ${library##*/}, which the image never had: if that is meant, name it in $0" >&2
      exit 1
      ;;
  esac
  mkdir -p "$root${library%/*}"
  cp -L "$library" "$root$library"
done

# Whom TLS trusts. librdkafka's OpenSSL and the AWS clients' rustls both look here.
certificates=/etc/ssl/certs/ca-certificates.crt
mkdir -p "$root${certificates%/*}"
cp -L "$certificates" "$root$certificates"

# Where tidemill.toml may be mounted, and above the folders that the last stage gives to the user.
mkdir -p "$root/etc/tidemill" "$root/var/cache"

# The user has a name, and names of hosts are looked up in /etc/hosts first.
echo 'tidemill:x:65532:65532:tidemill:/nonexistent:/nonexistent' >"$root/etc/passwd"
echo 'tidemill:x:65532:' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"

# What scanners for known weaknesses read: the system, and the packages that the files above come from.
cp -L /etc/os-release "$root/etc/os-release"
status=$root/var/lib/dpkg/status.d
mkdir -p "$status"
# shellcheck disable=SC2086  # paths of libraries have no blanks
for package in $(dpkg-query --search $libraries | sed 's/:.*//' | sort -u) ca-certificates; do
  dpkg-query --status "$package" >"$status/$package"
done
