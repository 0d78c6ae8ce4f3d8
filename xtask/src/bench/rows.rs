//! What is measured: the programs, and the rows of `docs/performance.md` that show their figures. To add one, let a
//! program print it and pick it out here.

/// A program that measures. It prints JSON objects, one a line, whose fields say what was measured and what came out:
/// `{"what": "append", "in_flight": 512, "entries_per_s": 61000}`. Lines that begin otherwise are for people.
pub(super) struct Program {
    /// What `cargo xtask bench NAME` and the raw file call it.
    pub(super) name: &'static str,
    /// The crate it belongs to.
    pub(super) package: &'static str,
    /// The example of that crate.
    pub(super) example: &'static str,
    /// The words it is given.
    pub(super) words: &'static [&'static str],
}

pub(super) const PROGRAMS: &[Program] =
    &[Program { name: "ledger", package: "eparch-ledger", example: "append", words: &[] }];

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

/// Commits of one tiny row, one after the other, on the same disk with the same settings.
const COMMITS: Pick = Pick { wanted: &[("what", "floor")], field: "commits_per_s" };

pub(super) const ROWS: &[Row] = &[
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
    },
];
