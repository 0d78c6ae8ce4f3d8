//! What is measured: the programs, and the rows of `docs/performance.md` that show their figures. To add one, let a
//! program print it and pick it out here.

/// What is measured together, and kept in one raw file.
pub(super) struct Program {
    /// What `cargo xtask bench NAME` and the raw file call it.
    pub(super) name: &'static str,
    pub(super) way: Way,
}

/// How it is measured.
pub(super) enum Way {
    /// An example that prints JSON objects, one a line, whose fields say what was measured and what came out:
    /// `{"what": "append", "in_flight": 512, "entries_per_s": 61000}`; a list holds what came out each time. Lines that
    /// begin otherwise are for people.
    Example {
        /// The crate it belongs to.
        package: &'static str,
        /// Its name there.
        example: &'static str,
        /// A binary it measures, of the same crate, which has to be built before.
        binary: Option<&'static str>,
    },
    /// A build of the binary from nothing.
    CleanBuild,
}

const fn program(name: &'static str, package: &'static str, example: &'static str) -> Program {
    Program { name, way: Way::Example { package, example, binary: None } }
}

/// A program that measures the shipped binary from outside.
const fn outside(name: &'static str) -> Program {
    Program { name, way: Way::Example { package: "eparch-cli", example: name, binary: Some("eparch") } }
}

pub(super) const PROGRAMS: &[Program] = &[
    program("ledger", "eparch-ledger", "append"),
    program("policy", "eparch-policy", "decide"),
    program("handle", "eparch-sim", "handle"),
    program("snapshot", "eparch-sim", "snapshot"),
    program("act", "eparch-daemon", "act"),
    program("revoke", "eparch-daemon", "revoke"),
    program("steps", "eparch-daemon", "steps"),
    outside("start"),
    outside("history"),
    outside("crowd"),
    Program { name: "build", way: Way::CleanBuild },
];

/// A row of the page.
pub(super) struct Row {
    /// What is measured.
    pub(super) what: &'static str,
    /// The program whose raw file has the figures.
    pub(super) program: &'static str,
    /// The figures shown.
    pub(super) figures: &'static [Figure],
    /// What it is to show when its part is done.
    pub(super) now: &'static str,
    /// Where it is going; never claimed before it is measured.
    pub(super) aim: &'static str,
    /// What has to be said of it: why it is missed, what is left out. Empty when nothing has.
    pub(super) note: &'static str,
}

/// A figure, and the floor it is a share of.
pub(super) struct Figure {
    /// What people call it.
    pub(super) label: &'static str,
    /// Where it is printed.
    pub(super) pick: Pick,
    /// Its unit.
    pub(super) unit: &'static str,
    /// What it is called and where it is printed: the best that this machine could do.
    pub(super) floor: Option<(&'static str, Pick)>,
}

/// Picks a number out of what a program printed: the field `field` of the lines in which every one of `wanted` has this
/// value.
pub(super) struct Pick {
    pub(super) wanted: &'static [(&'static str, &'static str)],
    pub(super) field: &'static str,
}

pub(super) const fn figure(
    label: &'static str,
    wanted: &'static [(&'static str, &'static str)],
    field: &'static str,
    unit: &'static str,
) -> Figure {
    Figure { label, pick: Pick { wanted, field }, unit, floor: None }
}

/// Commits of one tiny row, one after the other, on the same disk with the same settings.
const COMMITS: Pick = Pick { wanted: &[("what", "floor")], field: "commits_per_s" };

/// Every row, in the order of the page.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(super::authority::ROWS)
}

const ROWS: &[Row] = &[
    Row {
        what: "ledger append with group commit, Merkle tree and signed checkpoints; 400-byte entries",
        program: "ledger",
        figures: &[
            Figure {
                label: "one at a time",
                pick: Pick {
                    wanted: &[("what", "append"), ("entries_per_append", "1")],
                    field: "entries_per_s",
                },
                unit: "entries/s",
                floor: Some(("bare commits", COMMITS)),
            },
            Figure {
                label: "32 at a time",
                pick: Pick {
                    wanted: &[("what", "append"), ("entries_per_append", "32")],
                    field: "entries_per_s",
                },
                unit: "entries/s",
                floor: None,
            },
            Figure {
                label: "512 in flight",
                pick: Pick { wanted: &[("what", "append"), ("in_flight", "512")], field: "entries_per_s" },
                unit: "entries/s",
                floor: None,
            },
        ],
        now: "≥ 30,000 entries/s",
        aim: "≥ 100,000 entries/s",
        note: "",
    },
    Row {
        what: "ledger verify, every byte and every checkpoint, on one core",
        program: "ledger",
        figures: &[
            Figure {
                label: "verify",
                pick: Pick { wanted: &[("what", "verify")], field: "entries_per_s" },
                unit: "entries/s",
                floor: None,
            },
            Figure {
                label: "hashes of a proof",
                pick: Pick { wanted: &[("what", "proof")], field: "hash_bytes" },
                unit: "bytes",
                floor: None,
            },
        ],
        now: "≥ 500,000 entries/s; a proof ≤ 1 KB",
        aim: "≥ 2 million entries/s",
        note: "",
    },
    Row {
        what: "governor.handle, policy excluded, on one core",
        program: "handle",
        figures: &[
            figure("p50 with 10 live runs", &[("measured", "handle"), ("live_runs", "10")], "p50_ns", "ns"),
            figure(
                "p50 with 10,000 live runs",
                &[("measured", "handle"), ("live_runs", "10000")],
                "p50_ns",
                "ns",
            ),
            figure(
                "p99.9 with 10,000 live runs",
                &[("measured", "handle"), ("live_runs", "10000")],
                "p999_ns",
                "ns",
            ),
            figure(
                "p50 of each tenth of a million events, 10 live runs",
                &[("measured", "a million events")],
                "p50_ns_of_each_tenth",
                "ns",
            ),
        ],
        now: "≤ 3 µs p50, flat to 1 million entries",
        aim: "flat to 100 million entries, memory flat",
        note: "",
    },
    Row {
        what: "durable pipeline steps, 10 steps a run, through governor, driver and ledger; agents that do nothing",
        program: "steps",
        figures: &[
            Figure {
                label: "alone",
                pick: Pick { wanted: &[("what", "steps"), ("at_once", "1")], field: "steps_per_s" },
                unit: "steps/s",
                floor: Some((
                    "as many bare commits",
                    Pick { wanted: &[("what", "steps"), ("at_once", "1")], field: "floor_steps_per_s" },
                )),
            },
            figure("commits a step, alone", &[("what", "steps"), ("at_once", "1")], "commits_per_step", ""),
            figure("64 runs at once", &[("what", "steps"), ("at_once", "64")], "steps_per_s", "steps/s"),
            figure(
                "commits a step, 64 at once",
                &[("what", "steps"), ("at_once", "64")],
                "commits_per_step",
                "",
            ),
        ],
        now: "≥ 2,000 alone, ≥ 20,000 at 64",
        aim: "≥ 3,500 alone, ≥ 60,000 at 64",
        note: "Missed at 64. Alone, commits are what a step costs. Every run is asked of the policies that ship, which earlier figures, \
               of builds before there were policies, had not to pay for.",
    },
    Row {
        what: "a run of two real agents, all eight phases, confined; the whole command, with its client",
        program: "start",
        figures: &[figure("a run", &[("what", "run of two real agents, whole command")], "ms", "ms")],
        now: "reported",
        aim: "reported",
        note: "",
    },
    Row {
        what: "snapshots of 10,000 live runs, taken and put into bytes while handling goes on",
        program: "snapshot",
        figures: &[
            figure("handling p99.9 without", &[("measured", "without snapshots")], "p999_ns", "ns"),
            figure(
                "while another thread writes something else as large",
                &[("measured", "while something else is written")],
                "p999_ns",
                "ns",
            ),
            figure(
                "while a snapshot is written, one of every 10,000 entries",
                &[("measured", "with a snapshot of every 10,000 entries")],
                "p999_ns",
                "ns",
            ),
            figure(
                "taking one",
                &[("measured", "with a snapshot of every 10,000 entries")],
                "median_taking_ns",
                "ns",
            ),
        ],
        now: "handling p99.9 unchanged",
        aim: "handling p99.9 unchanged",
        note: "This is the governor alone, which no longer notices a snapshot. How long the disk takes for the bytes is not measured here; nobody waits for it.",
    },
    Row {
        what: "recovery with 10,000 runs in flight: a snapshot and 10,000 entries after it",
        program: "snapshot",
        figures: &[figure("recovery", &[("measured", "recovery")], "all_ms", "ms")],
        now: "serving in ≤ 2 s",
        aim: "≤ 0.5 s",
        note: "",
    },
    Row {
        what: "cold start: from starting the holder to its first answer",
        program: "start",
        figures: &[
            figure("empty home", &[("what", "start, empty home")], "ms", "ms"),
            figure("some 300 entries", &[("what", "start, some history")], "ms", "ms"),
        ],
        now: "≤ 50 ms with an empty home",
        aim: "the same",
        note: "",
    },
    Row {
        what: "cold start with a million entries",
        program: "history",
        figures: &[
            figure("left in order", &[("what", "start, a million entries")], "ms", "ms"),
            figure(
                "after kill -9, its last snapshot",
                &[("what", "start after kill -9, a million entries")],
                "entries_since_snapshot",
                "entries old",
            ),
            figure("that start", &[("what", "start after kill -9, a million entries")], "ms", "ms"),
        ],
        now: "≤ 300 ms with 1 million entries",
        aim: "the same",
        note: "",
    },
    Row {
        what: "memory of an idle holder at its first answer, resident",
        program: "start",
        figures: &[figure("some 300 entries", &[("what", "start, some history")], "idle_rss_mb", "MB")],
        now: "≤ 40 MB idle",
        aim: "the same",
        note: "",
    },
    Row {
        what: "the same with a million entries",
        program: "history",
        figures: &[
            figure("left in order", &[("what", "start, a million entries")], "idle_rss_mb", "MB"),
            figure(
                "after kill -9",
                &[("what", "start after kill -9, a million entries")],
                "idle_rss_mb",
                "MB",
            ),
        ],
        now: "≤ 40 MB idle",
        aim: "the same",
        note: "",
    },
    Row {
        what: "memory of the holder under 64 runs of real agents at once, resident",
        program: "crowd",
        figures: &[
            figure("peak", &[("what", "crowd")], "peak_rss_mb", "MB"),
            figure("runs in flight at once", &[("what", "crowd")], "live_runs", ""),
        ],
        now: "≤ 100 MB under load",
        aim: "the same",
        note: "",
    },
    Row {
        what: "memory of a governor with 10,000 live runs, its process with what drives it, resident",
        program: "handle",
        figures: &[figure("peak", &[("measured", "handle"), ("live_runs", "10000")], "peak_rss_mb", "MB")],
        now: "≤ 100 MB under load",
        aim: "the same",
        note: "",
    },
    Row {
        what: "the binary",
        program: "start",
        figures: &[figure("size", &[("what", "binary")], "mb", "MB")],
        now: "≤ 40 MB",
        aim: "the same",
        note: "",
    },
    Row {
        what: "clean release build of the binary, nothing but its sources at hand",
        program: "build",
        figures: &[figure("build", &[("what", "clean release build")], "seconds", "s")],
        now: "≤ 12 min on 2 cores",
        aim: "the same",
        note: "",
    },
];
