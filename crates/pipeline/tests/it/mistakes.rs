//! Typical mistakes and how they are told: one file with all of them, compared as a whole.

use std::fmt::Write;

use crate::common::checked;

/// Each is put after a sound head; `STAGES` stands for one sound stage.
const MISTAKES: &[(&str, &str)] = &[
    (
        "a field that is nearly right",
        "name: a\nstages:\n  - {name: b, type: agent, requries: [], config: {command: [c]}}\n",
    ),
    ("a field in the wrong place", "name: a\nstages:\n  - {name: b, type: agent, command: [c]}\n"),
    ("no stages", "name: a\n"),
    ("an empty list of stages", "name: a\nstages: []\n"),
    (
        "a shell line instead of words",
        "name: a\nstages:\n  - {name: b, type: agent, config: {command: make all}}\n",
    ),
    (
        "a number where text belongs",
        "name: 12\nstages:\n  - {name: b, type: agent, config: {command: [c]}}\n",
    ),
    ("a tab", "name: a\nstages:\n\t- {name: b}\n"),
    ("an unclosed bracket", "name: a\nstages: [\n"),
    (
        "an expression without quotes in brackets",
        "name: a\nstages:\n  - {name: b, type: agent, config: {command: [c, ${{ inputs.x }}]}}\n",
    ),
    ("a key twice", "name: a\nname: b\nstages:\n  - {name: b, type: agent, config: {command: [c]}}\n"),
    ("an anchor", "name: a\nstages:\n  - &x {name: b, type: agent, config: {command: [c]}}\n  - *x\n"),
    (
        "a circle",
        "name: a\nstages:\n  - {name: x, type: agent, requires: [z], config: {command: [c]}}\n  - {name: y, type: agent, requires: [x], config: {command: [c]}}\n  - {name: z, type: agent, requires: [y], config: {command: [c]}}\n",
    ),
    (
        "a stage that requires itself",
        "name: a\nstages:\n  - {name: x, type: agent, requires: [x], config: {command: [c]}}\n",
    ),
    (
        "a requirement across lists",
        "name: a\nstages:\n  - name: p\n    type: parallel\n    branches:\n      - {name: one, stages: [{name: in, type: agent, config: {command: [c]}}]}\n  - {name: q, type: agent, requires: [in], config: {command: [c]}}\n",
    ),
    ("no time at all", "name: a\ntimeout: 0s\nstages:\n  - {name: b, type: agent, config: {command: [c]}}\n"),
    (
        "too much time",
        "name: a\ntimeout: 9000d\nstages:\n  - {name: b, type: agent, config: {command: [c], timeout: 3h}}\n",
    ),
    (
        "a stage that outlasts its run",
        "name: a\ntimeout: 1h\nstages:\n  - {name: b, type: agent, config: {command: [c], timeout: 3h, attempt_timeout: 4h}}\n",
    ),
    (
        "a stage read before it ended",
        "name: a\nstages:\n  - {name: b, type: agent, config: {command: [c]}}\n  - {name: d, type: agent, config: {command: [c, \"${{ stages.b.outputs.x }}\"]}}\n",
    ),
    (
        "a misspelt status",
        "name: a\nstages:\n  - {name: b, type: agent, config: {command: [c]}}\n  - {name: r, type: condition, requires: [b], if: stages.b.status == \"COMPLETE\", then: []}\n",
    ),
    (
        "types that do not fit",
        "name: a\ninputs: {n: {type: integer, default: 1}}\nstages:\n  - {name: r, type: condition, if: inputs.n == \"1\", then: [{name: b, type: agent, config: {command: [c]}}]}\n",
    ),
    (
        "a condition that is a number",
        "name: a\ninputs: {n: {type: integer, default: 1}}\nstages:\n  - {name: r, type: condition, if: inputs.n + 1, then: [{name: b, type: agent, config: {command: [c]}}]}\n",
    ),
    (
        "a condition that never holds",
        "name: a\nstages:\n  - {name: r, type: condition, if: 1 > 2, then: [{name: b, type: agent, config: {command: [c]}}]}\n",
    ),
    (
        "text from outside in a script",
        "name: a\ninputs: {who: {default: me}}\nstages:\n  - {name: b, type: agent, config: {command: [sh, -ec, \"echo ${{ inputs.who }}\"]}}\n",
    ),
    (
        "an artifact outside",
        "name: a\nstages:\n  - {name: b, type: agent, config: {command: [c], artifacts: [/etc/passwd, ../x, ok, ./ok]}}\n",
    ),
    (
        "variables of Eparch's own",
        "name: a\nstages:\n  - {name: b, type: agent, config: {command: [c], env: {EPARCH_TIER: '4', HOME: /x, LANG: C, PATH: /bin}}}\n",
    ),
    (
        "a port that does not exist",
        "name: a\nstages:\n  - {name: b, type: agent, config: {command: [c], egress: [\"a.org:70000\", a.org]}}\n",
    ),
    (
        "a planner with a command",
        "name: a\nstages:\n  - {name: b, type: agent, config: {command: [c], runtime: planner}}\n",
    ),
    ("nothing to run", "name: a\nstages:\n  - {name: b, type: agent}\n"),
    (
        "a council that is none",
        "name: a\nstages:\n  - {name: b, type: agent, config: {command: [c]}}\n  - {name: g, type: gate, requires: [b], config: {gate_type: consensus, of: b}}\n",
    ),
    (
        "a large quorum",
        "name: a\nstages:\n  - {name: g, type: gate, config: {approvers: [ann, bob, ann], quorum: 3}}\n",
    ),
    (
        "a secret for an observer",
        "name: a\nstages:\n  - {name: b, type: agent, config: {command: [c], secrets: [db/password]}}\n",
    ),
    (
        "a tool that is nearly right",
        "name: a\nstages:\n  - {name: b, type: agent, config: {command: [c], tools: [read_files]}}\n",
    ),
    (
        "actions that cannot be asked for",
        "name: a\ninputs: {what: {default: x}}\nstages:\n  - name: b\n    type: agent\n    config:\n      command: [c]\n      actions:\n        - ansible_rum sandbox-*\n        - \"${{ inputs.what }} sandbox-1\"\n        - ansible_run\n        - ansible_run a*b\n        - ansible_run .\n        - write_file ../out\n        - promote agent-1\n        - ansible_run ${{ inputs.host }}\n",
    ),
    (
        "locks that cannot be held",
        "name: a\ninputs: {where: {default: x}}\nstages:\n  - name: b\n    type: agent\n    config:\n      command: [c]\n      locks: [production, a/b, production, \"db-${{ inputs.where }}\", \"db-${{ inputs.wehre }}\", \"\", -x]\n",
    ),
    (
        "a name with a dash in an expression",
        "name: a\nstages:\n  - {name: b-c, type: agent, config: {command: [c]}}\n  - {name: r, type: condition, requires: [b-c], if: stages.b-c.status == \"FAILED\", then: []}\n",
    ),
    (
        "an error in a script's line",
        "name: a\nstages:\n  - name: b\n    type: agent\n    config:\n      command: [c]\n      objective: |\n        First line.\n        Then ${{ input.x }} here.\n",
    ),
    ("two documents", "name: a\nstages:\n  - {name: b, type: agent, config: {command: [c]}}\n---\nname: b\n"),
];

#[test]
fn r058_mistakes_are_told_in_words_that_help() {
    let mut told = String::new();
    for (what, text) in MISTAKES {
        writeln!(told, "## {what}\n").unwrap();
        let checked = checked(text);
        assert!(!checked.diagnostics.is_empty(), "{what}");
        told.push_str(&checked.to_text());
    }
    insta::assert_snapshot!("mistakes", told);
}
