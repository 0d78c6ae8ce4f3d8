#!/bin/sh
# The way into every stage of the review: `review.sh CHECK`, where CHECK is one of the .pl files beside this one, or
# `all` for the whole review in one stage. Says plainly what is missing instead of failing in the middle.
set -eu

check=${1:-all}
here=$(dirname -- "$0")

for program in git perl; do
    if ! command -v "$program" >/dev/null 2>&1; then
        echo "code-review: the program '$program' is not installed where this agent runs; install it and run again" >&2
        exit 69
    fi
done

if [ "$check" = all ]; then
    # In one stage there is no earlier stage: what each check leaves is the next one's input.
    : "${EPARCH_ARTIFACTS:=artifacts}"
    EPARCH_INPUTS=$EPARCH_ARTIFACTS
    export EPARCH_ARTIFACTS EPARCH_INPUTS
    for step in survey secrets conflicts lints diffs sizes verdict package; do
        perl "$here/$step.pl"
    done
    exit 0
fi

if [ ! -f "$here/$check.pl" ]; then
    echo "code-review: there is no check called '$check'" >&2
    exit 64
fi
exec perl "$here/$check.pl"
