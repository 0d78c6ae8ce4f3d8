//! `eparch ledger verify`: whether anything was changed, offline, with nothing but the public key; and whether the same
//! decisions come of the same events.

use std::path::{Path, PathBuf};

use eparch_domain::in_full;
use eparch_ledger::{Report, TenantReport, Verify, VerifyError};
use serde_json::json;

use super::ledger::{check_of, known_key, public_key, reader, tenant, unreadable};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::outln;
use crate::paint;
use crate::replay::{self, Replay};

/// Verifies the ledger; exits with 1 when anything is wrong.
pub(crate) fn verify(
    context: &Context,
    again: bool,
    anchors: Vec<PathBuf>,
    key: Option<&Path>,
) -> Result<u8, Failure> {
    let home = context.home_at_rest()?;
    let key = key.map_or_else(|| public_key(&home), known_key)?;
    let mut check = check_of(context, &home, key.clone())?;
    check.named = anchors;
    let report = check.run().map_err(|problem| {
        let hint = match problem {
            VerifyError::TooNew { .. } => "the version of Eparch that wrote it verifies it",
            VerifyError::Open { .. } | VerifyError::Locked { .. } => {
                "the first `eparch run FILE` begins a ledger; a lost one comes back from a copy"
            }
        };
        Failure::new("EP0719", in_full(&problem)).hint(hint)
    })?;
    // What is damaged is not worth deciding again.
    let replay = match again && report.is_clean() {
        true => {
            Some(replay::replay(&reader(&home)?, &tenant(), &key).map_err(|problem| unreadable(&problem))?)
        }
        false => None,
    };
    let differs = replay.as_ref().is_some_and(|replay| replay.difference.is_some());
    if context.is_json() {
        let mut shown = serde_json::to_value(&report).unwrap_or_default();
        shown["clean"] = report.is_clean().into();
        shown["first_bad"] = json!(report.first_bad());
        shown["replay"] = json!(replay);
        print_json(&shown)?;
    } else {
        show(&report, has_witness(&check));
        replay.iter().for_each(show_replay);
    }
    Ok(if report.is_clean() && !differs { exit::DONE } else { exit::FAILED })
}

/// Whether any folder but the one in the home has checkpoints, or should have them.
pub(super) fn has_witness(check: &Verify) -> bool {
    check.anchors.len() + check.named.len() > 1
}

fn show(report: &Report, has_witness: bool) {
    let paint = paint::out();
    match report.first_bad() {
        None => outln!("{}", paint.good("✔ nothing was changed")),
        Some(first) => {
            let place = first.seq.map(|seq| format!(" from entry {seq} on")).unwrap_or_default();
            outln!("{}{place}: {}", paint.bad("✘ not sound"), paint::harmless(&first.what));
        }
    }
    for tenant in &report.tenants {
        show_tenant(tenant);
    }
    let others = report.findings.len().saturating_sub(1) as u64 + report.more;
    if others > 0 {
        outln!("  and {others} more findings; --format json lists them");
    }
    if report.anchors_outside_home {
        outln!(
            "  a checkpoint outside the home agrees: whoever controls the whole home cannot have rewritten what it covers"
        );
    } else if report.is_clean() {
        let (what, advice) = match (report.witnessed, has_witness) {
            (true, _) => (
                "a checkpoint outside the home agrees, but only the home says where it lies: whoever controls all of it could have named another place",
                "name the folder yourself: --anchors DIR; and the key, as you know it: --public-key FILE",
            ),
            (false, true) => (
                "no checkpoint outside the home vouches for this: whoever controls all of it could have rewritten everything",
                "see that the folders of witness_dirs in eparch.toml are there and can be written to",
            ),
            (false, false) => (
                "no checkpoint lies outside the home: whoever controls all of it could have rewritten everything",
                "name a folder elsewhere in eparch.toml: [ledger] witness_dirs = [\"/somewhere/else\"]",
            ),
        };
        outln!("  {} {what}\n    {advice}", paint.warn("note:"));
    }
    for notice in &report.notices {
        outln!("  {} {}", paint.warn("note:"), paint::harmless(notice));
    }
}

fn show_tenant(tenant: &TenantReport) {
    outln!("  {} entries, {} signed checkpoints", tenant.entries, tenant.checkpoints);
    outln!("  root {}", tenant.root);
    match tenant.beyond_last_anchor {
        0 if tenant.entries == 0 => {}
        0 => outln!("  every entry is covered by a checkpoint outside the database"),
        1 => outln!("  1 entry is newer than the last checkpoint outside the database"),
        many => outln!("  {many} entries are newer than the last checkpoint outside the database"),
    }
    match tenant.beyond_last_checkpoint {
        0 => {}
        1 => outln!("  1 entry is newer than any signed checkpoint: nothing vouches for it"),
        many => outln!("  {many} entries are newer than any signed checkpoint: nothing vouches for them"),
    }
}

fn show_replay(replay: &Replay) {
    let paint = paint::out();
    match &replay.difference {
        None => outln!(
            "{} {} of {} entries",
            paint.good("✔ decided again, the same:"),
            replay.decided,
            replay.entries
        ),
        Some(found) => outln!("{} entry {}: {}", paint.bad("✘ decided otherwise:"), found.seq, found.what),
    }
    if replay.snapshots > 0 {
        outln!("  {} saved states are what comes of the entries before them", replay.snapshots);
    }
    if replay.taken > 0 {
        outln!("  {} entries are of other versions and were taken as they stand", replay.taken);
    }
}
