#!/bin/sh
# Installs, upgrades or removes Riskwire as a systemd service. Running it again changes only what differs.
set -eu

usage() {
    cat <<'TEXT'
Usage: install.sh [OPTIONS] [WHAT]

Installs Riskwire in a virtual environment under /opt/riskwire, with the system user 'riskwire', the units riskwire.service
and riskwire@.service, and the configuration in /etc/riskwire. Run it again to upgrade: the configuration and the data stay.

WHAT is what pip installs: a wheel, a folder with the source, or a requirement. 'riskwire' when unset.

  --extras LIST    optional parts, comma-separated: kafka,elastic,postgres,slack,gpu  [default: slack]
  --constraints F  pip constraints file (the repository's constraints.txt: the versions that were tested)
  --python PROGRAM Python 3.11 or newer  [default: python3]
  --root DIR       install into this directory instead of /, e.g. for an image; starts nothing, and makes the user there
  --no-start       install, but neither enable nor restart anything
  --uninstall      stop the services, remove units and programs; keep configuration, data and the user
  --purge          with --uninstall: remove configuration, data and the user as well
  -h, --help       this text

Exit codes: 0 done, 1 failed, 2 wrong usage.
TEXT
}

fail() { printf 'install.sh: %s\n' "$1" >&2; exit "${2:-1}"; }
say() { printf '%s\n' "$1"; }

root='' extras=slack constraints='' python=python3 start=yes uninstall=no purge=no what=''
while [ $# -gt 0 ]; do
    case $1 in
        --extras|--constraints|--python|--root)
            [ $# -ge 2 ] || fail "$1 needs a value" 2
            case $1 in
                --extras) extras=$2 ;;
                --constraints) constraints=$2 ;;
                --python) python=$2 ;;
                --root) root=${2%/} ;;
            esac
            shift 2 ;;
        --no-start) start=no; shift ;;
        --uninstall) uninstall=yes; shift ;;
        --purge) purge=yes; shift ;;
        -h|--help) usage; exit 0 ;;
        -*) fail "unknown option $1; see --help" 2 ;;
        *) [ -z "$what" ] || fail "one WHAT only; see --help" 2
           what=$1; shift ;;
    esac
done
[ "$purge" = no ] || [ "$uninstall" = yes ] || fail "--purge goes with --uninstall" 2
[ "$(id -u)" = 0 ] || fail "must run as root (it makes a system user and units)"
case $root in ''|/*) ;; *) fail "--root must be absolute" 2 ;; esac

here=$(cd "$(dirname "$0")" && pwd)
base=$root/opt/riskwire etc=$root/etc/riskwire units=$root/etc/systemd/system
[ -z "$root" ] || start=no
live=no
[ -n "$root" ] || [ ! -d /run/systemd/system ] || live=yes

if [ "$uninstall" = yes ]; then
    if [ "$live" = yes ]; then
        systemctl disable --now riskwire.service riskwire.target 2>/dev/null || true
        systemctl stop 'riskwire@*.service' 2>/dev/null || true
    fi
    rm -f "$units/riskwire.service" "$units/riskwire@.service" "$units/riskwire.target" \
        "$root/usr/lib/sysusers.d/riskwire.conf" "$root/usr/lib/tmpfiles.d/riskwire.conf" "$root/usr/local/bin/riskwire"
    rm -rf "$base"
    if [ "$purge" = yes ]; then
        rm -rf "$etc" "$root/var/lib/riskwire" "$root/var/cache/riskwire"
        if [ -z "$root" ] && id riskwire >/dev/null 2>&1; then userdel riskwire; fi
        say "Riskwire is gone, with its configuration and data."
    else
        say "Riskwire is removed. Kept: $etc, $root/var/lib/riskwire and the user 'riskwire' (--purge removes them)."
    fi
    [ "$live" = no ] || systemctl daemon-reload
    exit 0
fi

command -v "$python" >/dev/null || fail "there is no $python; install Python 3.11 or newer, or name it with --python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than 3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python cannot make virtual environments; on Debian: apt-get install python3-venv"
command -v systemd-sysusers >/dev/null || fail "systemd-sysusers is missing; this script is for systems with systemd"
[ -z "$constraints" ] || [ -r "$constraints" ] || fail "cannot read $constraints"
case $extras in *[!a-z,]*) fail "--extras takes names and commas, got '$extras'" 2 ;; esac
what=${what:-riskwire}

# 1. Programs. The new environment is made beside the old one, and takes its place only when it is whole and works.
# Python writes absolute paths into an environment, so under --root it is moved to where it will be looked for.
install -d -m 0755 "$base" "$base/share"
new=$base/venv.new old=$base/venv.old
rm -rf "$new" "$old"
"$python" -m venv "$new"
if [ -e "$what" ]; then
    what=$(cd "$(dirname "$what")" && pwd)/$(basename "$what")
fi
[ -z "$extras" ] || what="${what}[$extras]"
set -- "$new/bin/python" -m pip install --quiet --disable-pip-version-check
[ -z "$constraints" ] || set -- "$@" -c "$constraints"
"$@" "$what" || { rm -rf "$new"; fail "pip could not install $what; nothing was changed"; }
"$new/bin/riskwire" --version >/dev/null || { rm -rf "$new"; fail "the new version does not start; nothing was changed"; }
# The scripts' first lines name the place where they were made.
grep -lrIZ "^#!$new/bin/" "$new/bin" | xargs -0 -r sed -i "1s|^#!$new/bin/|#!/opt/riskwire/venv/bin/|"
sed -i "s|$new|/opt/riskwire/venv|g" "$new/pyvenv.cfg" "$new"/bin/activate*
[ ! -d "$base/venv" ] || mv "$base/venv" "$old"
mv "$new" "$base/venv"
rm -rf "$old"
install -d -m 0755 "$root/usr/local/bin"
ln -sfn /opt/riskwire/venv/bin/riskwire "$root/usr/local/bin/riskwire"

# 2. User, folders, units.
install -d -m 0755 "$units" "$root/usr/lib/sysusers.d" "$root/usr/lib/tmpfiles.d"
install -m 0644 "$here/systemd/riskwire.sysusers" "$root/usr/lib/sysusers.d/riskwire.conf"
install -m 0644 "$here/systemd/riskwire.tmpfiles" "$root/usr/lib/tmpfiles.d/riskwire.conf"
for unit in riskwire.service riskwire@.service riskwire.target; do
    install -m 0644 "$here/systemd/$unit" "$units/$unit"
done
[ ! -r "$here/../docs/install-systemd.md" ] || install -m 0644 "$here/../docs/install-systemd.md" "$base/share/"
systemd-sysusers ${root:+--root="$root"} riskwire.conf
first=no
if [ ! -e "$etc/riskwire.toml" ]; then
    first=yes
    install -d -m 0750 "$etc"
    "$base/venv/bin/python" -c 'from importlib.resources import files; import sys
sys.stdout.write(files("monitor").joinpath("default.toml").read_text(encoding="utf-8"))' >"$etc/riskwire.toml"
fi
systemd-tmpfiles ${root:+--root="$root"} --create riskwire.conf

# 3. Services.
if [ "$live" = yes ]; then
    systemctl daemon-reload
    if [ "$start" = yes ]; then
        # Roles that run are restarted; where none is enabled, everything runs in one process.
        if systemctl is-enabled --quiet riskwire.target 2>/dev/null; then
            systemctl restart 'riskwire@*.service'
        else
            systemctl enable --quiet riskwire.service
            systemctl restart riskwire.service
        fi
    fi
fi
if [ "$first" = yes ]; then
    say "Installed. Now look at $etc/riskwire.toml: sources, user_agent, notifiers."
else
    say "Upgraded; $etc and the data are as they were."
fi
