# A root plus a list of Debian packages: the only build that has a network.
# It makes three kinds of image: what compiles CPython (ROOT is the Debian
# root), what CPython needs at run time (the same ROOT), and what compiles one
# package's wheel (ROOT is the interpreter's `devel` image).
ARG ROOT
FROM ${ROOT}

ARG APT
# The context is mounted, not copied: the CA bundle of a host behind a company
# proxy is needed by https mirrors here, and must stay out of the image. /mnt
# exists in every root, so that no mount point is left behind either.
RUN --mount=type=bind,target=/mnt \
    set -eu; \
    started=$(($(date +%s) - 5)); \
    export DEBIAN_FRONTEND=noninteractive; \
    set -- -o Acquire::Retries=5 -o Acquire::http::Timeout=60 -o Acquire::https::Timeout=60; \
    if [ -s /mnt/ca.crt ]; then \
        # apt downloads as a user of its own, whatever the mode on the host is.
        install -m 644 /mnt/ca.crt /tmp/ca.crt; \
        set -- "$@" -o Acquire::https::CAInfo=/tmp/ca.crt; \
    fi; \
    # Without this option apt takes a mirror that does not answer for a warning,
    # and installs from whatever lists it has.
    apt-get "$@" update -o APT::Update::Error-Mode=any; \
    apt-get "$@" install -y --no-install-recommends ${APT}; \
    apt-get clean; \
    # The mark protects a Debian system from pip. Nothing else here uses Python.
    rm -f /tmp/ca.crt /usr/lib/python3*/EXTERNALLY-MANAGED; \
    # Lists, caches and logs hold times and would be dead weight. ldconfig's
    # cache of inode numbers is rewritten at need. What the root has is emptied:
    # that it was removed would be in the layer with the time of this build.
    find /var/lib/apt/lists -type f ! -name lock -delete; \
    find /var/log /var/lib/dpkg /var/cache/debconf /var/cache/ldconfig -type f \
        '(' -path '/var/log/*' -o -name '*-old' -o -name aux-cache ')' -size +0 -exec truncate -s 0 '{}' +; \
    # What this wrote gets one time, or no two builds would have the same layer.
    find / -xdev -newermt "@$started" ! -regex '/\(dev\|mnt\|proc\|sys\|etc/hosts\|etc/resolv.conf\)' \
        -exec touch -h -d @315532800 '{}' +
