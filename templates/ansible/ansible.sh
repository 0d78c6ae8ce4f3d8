#!/bin/sh
# Playbooks, offline. ANSIBLE_FOLDER holds them; PLAYBOOK names one in it (otherwise site.yml, playbook.yml or main.yml,
# the first there is); MODE is one of
#
#   check  --syntax-check, then --check --diff: what would change. Leaves report.md, syntax.txt and check.txt
#   run    the same, then runs it. Leaves run.txt too
#
# Plays are limited to localhost and sandbox-*, and every connection is local, whatever the inventory says. What a task
# delegates elsewhere, or runs although it is a check, is stopped by the agent's sandbox alone. Outputs: changed (true or false),
# changes (a number). A folder without a playbook is no fault: changed=false.
set -eu

folder=${ANSIBLE_FOLDER:-.}
mode=${MODE:-check}
artifacts=${EPARCH_ARTIFACTS:-artifacts}
scratch=${TMPDIR:-/tmp}
mkdir -p -- "$artifacts"
report=$artifacts/report.md

say() { printf '%s\n' "$@" >>"$report"; } # a line for each word
output() { [ -z "${EPARCH_OUTPUT:-}" ] || printf '%s=%s\n' "$1" "$2" >>"$EPARCH_OUTPUT"; }
fail() { # fail CODE SENTENCE
    printf 'ansible: %s\n' "$2" >&2
    say "" "Failed: $2"
    exit "$1"
}

printf '# Ansible: %s\n\n' "$mode" >"$report"
[ -d "$folder" ] || fail 1 "cannot read the folder '$folder'; is it in the stage's paths.read?"
case $mode in check | run) ;; *) fail 64 "MODE is check or run, not '$mode'" ;; esac

playbook=
if [ -n "${PLAYBOOK:-}" ]; then
    [ -f "$folder/$PLAYBOOK" ] || fail 1 "there is no playbook '$PLAYBOOK' in '$folder'"
    playbook=$PLAYBOOK
else
    for candidate in site.yml site.yaml playbook.yml playbook.yaml main.yml main.yaml; do
        if [ -f "$folder/$candidate" ]; then
            playbook=$candidate
            break
        fi
    done
fi
if [ -z "$playbook" ]; then
    say "There is no playbook in '$folder' (site.yml, playbook.yml or main.yml; PLAYBOOK names another), so there is nothing to $mode."
    output changed false
    output changes 0
    echo "ansible: no playbook in '$folder'; nothing to $mode"
    exit 0
fi
command -v ansible-playbook >/dev/null 2>&1 ||
    fail 69 "'$folder' has the playbook $playbook, but ansible-playbook is not installed where this agent runs"

case $scratch in /*) ;; *) scratch=$(pwd)/$scratch ;; esac
case $artifacts in /*) ;; *) artifacts=$(pwd)/$artifacts ;; esac
report=$artifacts/report.md
ANSIBLE_HOME=$scratch/ansible ANSIBLE_LOCAL_TEMP=$scratch/ansible/local ANSIBLE_REMOTE_TEMP=$scratch/ansible/remote
ANSIBLE_RETRY_FILES_ENABLED=0 ANSIBLE_NOCOLOR=1 ANSIBLE_LOCALHOST_WARNING=0 ANSIBLE_STDOUT_CALLBACK=default
export ANSIBLE_HOME ANSIBLE_LOCAL_TEMP ANSIBLE_REMOTE_TEMP ANSIBLE_RETRY_FILES_ENABLED ANSIBLE_NOCOLOR ANSIBLE_LOCALHOST_WARNING ANSIBLE_STDOUT_CALLBACK

# A configuration in the folder could widen what is addressed or where it connects; the command line decides instead.
mkdir -p -- "$scratch/ansible"
ANSIBLE_CONFIG=$scratch/ansible/empty.cfg
: >"$ANSIBLE_CONFIG"
export ANSIBLE_CONFIG
inventory='localhost,'
for candidate in inventory inventory.ini inventory.yml hosts hosts.yml; do
    if [ -e "$folder/$candidate" ]; then
        inventory=$candidate
        break
    fi
done
play() { (cd -- "$folder" && ansible-playbook -i "$inventory" --connection local -e ansible_connection=local "$@" -- "$playbook") </dev/null; }
allowed='localhost:sandbox-*'

say "$(ansible-playbook --version | head -n 1), $playbook with the inventory $inventory." ""
play --syntax-check >"$artifacts/syntax.txt" 2>&1 || fail 1 "the playbook does not parse, see syntax.txt"
say "- syntax: valid"
play --limit "$allowed" --check --diff >"$artifacts/check.txt" 2>&1 ||
    fail 1 "the check run failed, see check.txt; only localhost and sandbox-* may be addressed"
result=$artifacts/check.txt
if [ "$mode" = run ]; then
    play --limit "$allowed" --diff >"$artifacts/run.txt" 2>&1 || fail 1 "the run failed, see run.txt"
    result=$artifacts/run.txt
fi
changes=$(awk '/^PLAY RECAP/ { recap = 1 } recap && match($0, /changed=[0-9]+/) { sum += substr($0, RSTART + 8, RLENGTH - 8) } END { print sum + 0 }' "$result")
changed=false
[ "$changes" -eq 0 ] || changed=true
say "- $mode: $changes changes"
output changed "$changed"
output changes "$changes"
echo "ansible: $mode of $playbook: $changes changes"
