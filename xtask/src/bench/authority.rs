//! The rows about authority: what a decision takes, alone and durably over HTTP, and how soon one is undone.

use super::rows::{Figure, Pick, Row, figure};

/// A figure as a share of what the machine could do at best.
const fn share(label: &'static str, pick: Pick, unit: &'static str, of: &'static str, floor: Pick) -> Figure {
    Figure { label, pick, unit, floor: Some((of, floor)) }
}

/// What decides in process, among so many policies.
const fn decide(wanted: &'static [(&'static str, &'static str)]) -> Pick {
    Pick { wanted, field: "p50_us" }
}

/// Requests each of which is answered once it is synced, by a server that does nothing else.
const BARE: &str = "what a bare server does that only syncs";

const PLAIN: &str = "plain Cedar, its request made before";

pub(super) const ROWS: &[Row] = &[
    Row {
        what: "policy decision in process, request built from typed parts, p50",
        program: "policy",
        figures: &[
            share(
                "10 policies, allow",
                decide(&[("what", "decide"), ("set", "indexed"), ("policies", "10"), ("answer", "allow")]),
                "µs",
                PLAIN,
                decide(&[("what", "plain"), ("set", "indexed"), ("policies", "10"), ("answer", "allow")]),
            ),
            share(
                "10 policies, deny",
                decide(&[("what", "decide"), ("set", "indexed"), ("policies", "10"), ("answer", "deny")]),
                "µs",
                PLAIN,
                decide(&[("what", "plain"), ("set", "indexed"), ("policies", "10"), ("answer", "deny")]),
            ),
            share(
                "100, allow",
                decide(&[("what", "decide"), ("set", "indexed"), ("policies", "100"), ("answer", "allow")]),
                "µs",
                PLAIN,
                decide(&[("what", "plain"), ("set", "indexed"), ("policies", "100"), ("answer", "allow")]),
            ),
            share(
                "100, deny",
                decide(&[("what", "decide"), ("set", "indexed"), ("policies", "100"), ("answer", "deny")]),
                "µs",
                PLAIN,
                decide(&[("what", "plain"), ("set", "indexed"), ("policies", "100"), ("answer", "deny")]),
            ),
            share(
                "1,000, allow",
                decide(&[("what", "decide"), ("set", "indexed"), ("policies", "1000"), ("answer", "allow")]),
                "µs",
                PLAIN,
                decide(&[("what", "plain"), ("set", "indexed"), ("policies", "1000"), ("answer", "allow")]),
            ),
            share(
                "1,000, deny",
                decide(&[("what", "decide"), ("set", "indexed"), ("policies", "1000"), ("answer", "deny")]),
                "µs",
                PLAIN,
                decide(&[("what", "plain"), ("set", "indexed"), ("policies", "1000"), ("answer", "deny")]),
            ),
            share(
                "10,000, allow",
                decide(&[("what", "decide"), ("set", "indexed"), ("policies", "10000"), ("answer", "allow")]),
                "µs",
                PLAIN,
                decide(&[("what", "plain"), ("set", "indexed"), ("policies", "10000"), ("answer", "allow")]),
            ),
            share(
                "10,000, deny",
                decide(&[("what", "decide"), ("set", "indexed"), ("policies", "10000"), ("answer", "deny")]),
                "µs",
                PLAIN,
                decide(&[("what", "plain"), ("set", "indexed"), ("policies", "10000"), ("answer", "deny")]),
            ),
            figure(
                "asked before, at every size, allow",
                &[("what", "asked before"), ("set", "indexed"), ("answer", "allow")],
                "p50_us",
                "µs",
            ),
            figure(
                "candidates, at every size, allow",
                &[("what", "decide"), ("set", "indexed"), ("answer", "allow")],
                "candidates",
                "",
            ),
            figure(
                "candidates, at every size, deny",
                &[("what", "decide"), ("set", "indexed"), ("answer", "deny")],
                "candidates",
                "",
            ),
            figure(
                "the policies that ship, allow",
                &[("what", "decide"), ("set", "defaults"), ("answer", "allow")],
                "p50_us",
                "µs",
            ),
            figure(
                "asked before, allow",
                &[("what", "asked before"), ("set", "defaults"), ("answer", "allow")],
                "p50_us",
                "µs",
            ),
            figure(
                "their candidates, allow",
                &[("what", "decide"), ("set", "defaults"), ("answer", "allow")],
                "candidates",
                "",
            ),
            share(
                "10,000 that the index cannot tell apart",
                decide(&[("what", "decide"), ("set", "one bucket"), ("policies", "10000")]),
                "µs",
                PLAIN,
                decide(&[("what", "plain"), ("set", "one bucket"), ("policies", "10000")]),
            ),
        ],
        now: "≤ 10 µs p50 with ≤ 3 candidates, at every size",
        aim: "≤ 3 µs",
        note: "Every figure but those of what was asked before is of a decision that nothing is remembered of.",
    },
    Row {
        what: "decision and a durable, hash-chained, signed record, HTTP on loopback; agents that ask, and tell what came of it",
        program: "act",
        figures: &[
            figure("1 client, above one bare commit, p50", &[("what", "above one commit")], "p50_us", "µs"),
            figure("one bare commit, p50", &[("what", "one commit")], "p50_us", "µs"),
            share(
                "1 client",
                Pick { wanted: &[("what", "durable decision"), ("clients", "1")], field: "calls_per_s" },
                "calls/s",
                BARE,
                Pick { wanted: &[("what", "bare group fsync"), ("clients", "1")], field: "calls_per_s" },
            ),
            figure(
                "asking, 1 client, p50",
                &[("what", "durable decision"), ("clients", "1")],
                "p50_us",
                "µs",
            ),
            figure("p99", &[("what", "durable decision"), ("clients", "1")], "p99_us", "µs"),
            share(
                "32 clients",
                Pick { wanted: &[("what", "durable decision"), ("clients", "32")], field: "calls_per_s" },
                "calls/s",
                BARE,
                Pick { wanted: &[("what", "bare group fsync"), ("clients", "32")], field: "calls_per_s" },
            ),
            figure(
                "asking, 32 clients, p50",
                &[("what", "durable decision"), ("clients", "32")],
                "p50_us",
                "µs",
            ),
            figure("p99", &[("what", "durable decision"), ("clients", "32")], "p99_us", "µs"),
            share(
                "256 clients",
                Pick { wanted: &[("what", "durable decision"), ("clients", "256")], field: "calls_per_s" },
                "calls/s",
                BARE,
                Pick { wanted: &[("what", "bare group fsync"), ("clients", "256")], field: "calls_per_s" },
            ),
            figure(
                "asking, 256 clients, p50",
                &[("what", "durable decision"), ("clients", "256")],
                "p50_us",
                "µs",
            ),
            figure("p99", &[("what", "durable decision"), ("clients", "256")], "p99_us", "µs"),
        ],
        now: "≤ 0.5 ms above one commit at 1; ≥ 60 % of a bare server that only syncs in groups at 256",
        aim: "≥ 20,000/s at 256, p99 ≤ 25 ms",
        note: "Counted are calls of both kinds, each of which is decided on and has a record of its own; the times are those of asking. \
               Agents are callers without a program or a sandbox, in the process that answers them: they take their part of its \
               cores, here as with the bare server. \
               Missed at 256 clients: about half of the bare server, and three fifths were asked. In a build without link-time \
               optimisation a call takes, in microseconds of a core, 15 of the doors, 17 of the callers, 10 of the driver and 5 of \
               the ledger's writer. In a second of it whose scheduling was recorded, with 26,424 calls/s, cores were idle for 14 % of \
               their time; in four fifths of that somebody could have worked and was not moved there, as with the bare server.",
    },
    Row {
        what: "revoke, sent over HTTP while 128 callers ask without a pause; 1,024 revokes a run",
        program: "revoke",
        figures: &[
            figure("to its answer, p50", &[("what", "revoke, to its answer")], "p50_us", "µs"),
            figure("p99", &[("what", "revoke, to its answer")], "p99_us", "µs"),
            figure(
                "to the last action allowed, p50",
                &[("what", "revoke, to the last action allowed")],
                "p50_us",
                "µs",
            ),
            figure("p99", &[("what", "revoke, to the last action allowed")], "p99_us", "µs"),
            figure(
                "asked after it had returned",
                &[("what", "sent after the revoke had returned")],
                "asked",
                "",
            ),
            figure("and accepted", &[("what", "sent after the revoke had returned")], "accepted", ""),
        ],
        now: "≤ 20 ms p99, none after it returned",
        aim: "≤ 5 ms",
        note: "What is asked for is the time to the last action allowed. To its answer it is about as long: that is given after its \
               effects were handed over, on two cores that 128 callers share with what answers them. Nothing was accepted that was sent \
               after a revoke had returned.",
    },
];
