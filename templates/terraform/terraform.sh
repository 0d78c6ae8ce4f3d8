#!/bin/sh
# Infrastructure code, offline. TF_FOLDER is the root module; MODE is one of
#
#   plan   fmt -check, init without a backend, validate, plan. Leaves report.md, validate.json, plan.txt and plan.tfplan
#          (which holds what the plan holds, secrets included: keep it inside the run)
#   apply  applies the plan that the stage PLAN_STAGE left, after checking that it is the one with the digest
#          PLAN_SHA256; nothing is planned anew. The folder must be in the stage's paths.write, or the new state is lost
#
# Outputs: changed (true or false), formatted, plan_sha256. A folder without *.tf is no fault: changed=false.
set -eu

folder=${TF_FOLDER:-.}
mode=${MODE:-plan}
artifacts=${EPARCH_ARTIFACTS:-artifacts}
scratch=${TMPDIR:-/tmp}
mkdir -p -- "$artifacts"
report=$artifacts/report.md

say() { printf '%s\n' "$@" >>"$report"; } # a line for each word
output() { [ -z "${EPARCH_OUTPUT:-}" ] || printf '%s=%s\n' "$1" "$2" >>"$EPARCH_OUTPUT"; }
fail() { # fail CODE SENTENCE
    printf 'terraform: %s\n' "$2" >&2
    say "" "Failed: $2"
    exit "$1"
}
# absolute PATH: the same place, however the working folder changes.
absolute() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s/%s\n' "$(pwd)" "$1" ;; esac }

printf '# Terraform: %s\n\n' "$mode" >"$report"
case $mode in plan | apply) ;; *) fail 64 "MODE is plan or apply, not '$mode'" ;; esac
# A name that begins with a dash is no option of anything below.
case $folder in -*) folder=./$folder ;; esac
[ -d "$folder" ] || fail 1 "cannot read the folder '$folder'; is it in the stage's paths.read?"

count=$(find "$folder" -maxdepth 1 -type f \( -name '*.tf' -o -name '*.tf.json' \) | wc -l)
if [ "$count" -eq 0 ]; then
    say "There are no *.tf files in '$folder', so there is nothing to $mode."
    others=$(find "$folder" -mindepth 2 -maxdepth 6 -name '*.tf' -not -path '*/.terraform/*' -print 2>/dev/null | sed 's,/[^/]*$,,' | sort -u | head -n 20)
    if [ -n "$others" ]; then
        say "" "Folders below it that do have some; name one in TF_FOLDER:" ""
        printf '%s\n' "$others" | sed 's/^/- /' >>"$report"
    fi
    output changed false
    echo "terraform: no *.tf files in '$folder'; nothing to $mode"
    exit 0
fi

program=
for candidate in terraform tofu; do
    if command -v "$candidate" >/dev/null 2>&1; then
        program=$candidate
        break
    fi
done
[ -n "$program" ] || fail 69 "'$folder' has $count Terraform files, but neither terraform nor tofu is installed where this agent runs"

artifacts=$(absolute "$artifacts")
report=$artifacts/report.md
TF_DATA_DIR=$(absolute "$scratch")/terraform-data
TF_IN_AUTOMATION=1 TF_INPUT=0 CHECKPOINT_DISABLE=1
export TF_DATA_DIR TF_IN_AUTOMATION TF_INPUT CHECKPOINT_DISABLE
tf() { "$program" -chdir="$folder" "$@"; }

say "$("$program" version | head -n 1), $count files in '$folder'." ""

lock=
[ -w "$folder" ] || lock=-lockfile=readonly
# shellcheck disable=SC2086 # an empty lock is no word
tf init -backend=false -input=false -no-color $lock >"$artifacts/init.txt" 2>&1 ||
    fail 1 "init failed, see init.txt; there is no network here, so providers must come from a local mirror that is in paths.read"
say "- init: done, without a backend"

if [ "$mode" = apply ]; then
    plan=${EPARCH_INPUTS:-}/${PLAN_STAGE:-plan}/plan.tfplan
    [ -f "$plan" ] || fail 1 "the stage '${PLAN_STAGE:-plan}' left no plan.tfplan; require a stage that plans"
    [ -n "${PLAN_SHA256:-}" ] || fail 1 "PLAN_SHA256 is not set; pass the output plan_sha256 of the stage that planned"
    digest=$(sha256sum <"$plan" | cut -d ' ' -f 1)
    [ "$digest" = "$PLAN_SHA256" ] || fail 1 "the plan has the digest $digest, not $PLAN_SHA256 that was approved"
    tf apply -input=false -no-color "$plan" >"$artifacts/apply.txt" 2>&1 || fail 1 "apply failed, see apply.txt"
    say "- apply: done, exactly the plan $digest"
    output changed true
    output plan_sha256 "$digest"
    echo "terraform: applied the plan $digest"
    exit 0
fi
if tf fmt -check -recursive -no-color >"$artifacts/fmt.txt" 2>&1; then
    say "- fmt: formatted"
    output formatted true
else
    say "- fmt: not formatted, see fmt.txt"
    output formatted false
fi

tf validate -json >"$artifacts/validate.json" 2>"$artifacts/validate.txt" || fail 1 "validate found errors, see validate.json"
say "- validate: valid"

status=0
tf plan -input=false -no-color -lock=false -detailed-exitcode -out="$artifacts/plan.tfplan" >"$artifacts/plan.txt" 2>&1 || status=$?
case $status in
    0) changed=false ;;
    2) changed=true ;;
    *) fail 1 "plan failed, see plan.txt; a configured backend or a provider that calls out cannot be reached from here" ;;
esac
digest=$(sha256sum <"$artifacts/plan.tfplan" | cut -d ' ' -f 1)
say "- plan: changed=$changed, digest $digest"
output changed "$changed"
output plan_sha256 "$digest"
echo "terraform: planned, changed=$changed, digest $digest"
