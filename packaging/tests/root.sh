# A Debian tree as a root for rpm, which has scripts run in it; sourced after lib.sh.
# shellcheck shell=bash disable=SC2154

RPM=$(echo "$PACKAGES"/kinesis-agent-*.x86_64.rpm)

# Scripts get no more of this shell's environment than a fresh login's have.
clean() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME="$scratch" "$@"
}

rpm_in_tree() {
    clean rpm --root "$tree" --nosignature "$@"
}

dnf_in_tree() {
    clean dnf --installroot="$tree" --releasever=1 --disablerepo='*' --setopt=reposdir=/nonexistent \
        --setopt=cachedir=/var/cache/dnf --setopt=pluginpath=/nonexistent --nogpgcheck --noplugins --assumeyes "$@"
}

# Debian's files are there, but rpm doesn't know: an empty package says that it has all that ours needs.
make_rpm_root() {
    # Debian's own rpm keeps its books in a home.
    echo '%_dbpath /var/lib/rpm' >"$scratch/.rpmmacros"
    mkdir -p "$tree/var/lib/rpm"
    {
        printf 'Name: debian-base\nVersion: 1\nRelease: 1\nSummary: What the tree has\nLicense: none\nBuildArch: noarch\n'
        rpm -qp --requires "$RPM" | grep -v '^rpmlib(' | sed 's/ .*//; s/^/Provides: /'
        printf '%%description\nNothing.\n%%files\n'
    } >"$scratch/base.spec"
    rpmbuild -bb --quiet --define "_topdir $scratch/rpmbuild" --define "_rpmdir $scratch" \
        --define '_rpmfilename %{name}.rpm' "$scratch/base.spec"
    rpm_in_tree --initdb
    rpm_in_tree --install "$scratch/debian-base.rpm"
}
