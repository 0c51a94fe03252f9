# Sourced by ./run and the scripts beside this file: where things are, and what
# several of them need.
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
host_scripts=$top/tests/host
cache=${VIRTMICRO_CACHE:-$top/build/cache}
guest_directory=/var/lib/virtmicro-tests

say() {
    printf '[%4d s] %s\n' "$SECONDS" "$*" >&2
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The names in a package list: comments and blank lines dropped.
packages_of() {
    sed -e 's/#.*//' "$1" | tr -s ' \t' '\n' | sed '/^$/d'
}

# A key for what is made from these files' contents.
key_of() {
    cat "$@" | sha256sum | cut -c1-12
}

apt_targets() {
    apt-get indextargets --format "$1" 'Created-By: Packages' 'Origin: Debian' | sort -u
}

# One-line sources for the Debian suites this machine is configured for.
# Other vendors' sources are left out: they have no place in an image.
debian_sources() {
    # shellcheck disable=SC2016  # apt expands these
    apt_targets 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)'
}

# The mirror from which this machine takes Debian itself.
debian_mirror() {
    local codename
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2016
    apt_targets '$(CODENAME) $(REPO_URI)' | awk -v suite="$codename" '$1 == suite { print $2; exit }'
}

need_apt_lists() {
    [ -n "$(debian_mirror)" ] || apt-get -qq update
    [ -n "$(debian_mirror)" ] || die "no Debian source is configured in /etc/apt"
}

# Runs one command at a time per lock name, so that parallel callers share a cache.
locked() {
    local name=$1
    shift
    mkdir -p "$cache"
    (
        flock 9
        "$@" 9>&-
    ) 9>"$cache/$name.lock"
}
