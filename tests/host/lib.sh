# Sourced by ./run and the scripts beside this file: where things are, and what
# several of them need.
# shellcheck shell=bash disable=SC2034  # its users read what it sets

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

# A source line for another Debian suite on the same mirror.
other_suite() {
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(debian_mirror) $1 main"
}

need_apt_lists() {
    [ -n "$(debian_mirror)" ] || apt-get -qq update
    [ -n "$(debian_mirror)" ] || die "no Debian source is configured in /etc/apt"
}

# apt with package lists of its own, so that a suite this machine does not use
# can be read without touching its configuration.
private_apt() {
    local state=$1 tool=$2
    shift 2
    "$tool" -q -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache" \
        -o APT::Sandbox::User=root "$@"
}

private_apt_open() {
    local state=$1 sources=$2
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    printf '%s\n' "$sources" >"$state/sources.list"
    private_apt "$state" apt-get update >"$state/update.log" 2>&1
}

# Results for older keys, once nobody can be about to use them.
prune() {
    local kind=$1 current=$2
    find "$cache" -mindepth 1 -maxdepth 1 -name "$kind-*" ! -path "$current" -mmin +120 -exec rm -rf {} +
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
