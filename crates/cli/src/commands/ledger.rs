//! The audit trail. Reading, verifying, proving and exporting need neither a holder nor a secret: anybody who may read
//! the home can do it.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use eparch_daemon::{Home, TENANT};
use eparch_domain::{Digest, Name, in_full};
use eparch_governor::{Answer, Fact, Record};
use eparch_ledger::views::summary;
use eparch_ledger::{
    Checkpoint, Entry, EntryProof, ImportReport, LedgerKey, ProveError, Reader, Settings, VerifierKey,
    Verify, import_verify, last_note, tree,
};
use serde_json::{Value, json};

use super::block_on;
use super::{export, verify};
use crate::args::{Ledger, Query};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::outln;
use crate::{paint, when};

/// `eparch ledger …`.
pub(crate) fn carry_out(context: &Context, command: Ledger) -> Result<u8, Failure> {
    match command {
        Ledger::Show { seq: Some(seq), .. } => show_one(context, seq),
        Ledger::Show { seq: None, limit } => show(context, limit),
        Ledger::Query(asked) => query(context, &asked),
        Ledger::Verify { replay, anchors, public_key } => {
            verify::verify(context, replay, anchors, public_key.as_deref())
        }
        Ledger::Checkpoint => block_on(checkpoint(context)),
        Ledger::Prove { seq } => prove(context, seq),
        Ledger::Export { output } => export::export(context, output.as_deref()),
        Ledger::ImportVerify { file, public_key, checkpoints, allow_unsigned_tail } => {
            let check = Import { key: public_key.as_deref(), checkpoints: &checkpoints, allow_unsigned_tail };
            check.carry_out(context, &file)
        }
        Ledger::RebuildViews => block_on(rebuild_views(context)),
    }
}

/// The one tenant of a home.
pub(super) fn tenant() -> Name {
    Name::new(TENANT).expect("a word is a name")
}

/// A failure to read the ledger.
pub(super) fn unreadable(problem: &dyn std::error::Error) -> Failure {
    Failure::new("EP0719", in_full(problem))
        .hint("`eparch ledger verify` says what is wrong with it, and where")
}

/// The ledger's reader; a home that was never held has no ledger yet.
pub(super) fn reader(home: &Home) -> Result<Reader, Failure> {
    if !home.journal().exists() {
        return Err(Failure::new("EP0719", "this home has no ledger yet")
            .hint("the first `eparch run FILE` begins it"));
    }
    Reader::open(&home.journal()).map_err(|problem| unreadable(&problem))
}

/// The public half of the home's ledger key.
pub(super) fn public_key(home: &Home) -> Result<VerifierKey, Failure> {
    LedgerKey::load_verifier(&home.keys()).map_err(|problem| {
        Failure::new("EP0719", in_full(&problem))
            .hint("HOME/keys/ledger.pub is made with the ledger; bring it back from a copy")
    })
}

/// A public key that somebody kept.
pub(super) fn known_key(path: &Path) -> Result<VerifierKey, Failure> {
    let text = std::fs::read_to_string(path).map_err(|problem| cannot_read(path, &problem))?;
    text.trim().parse().map_err(|problem| cannot_read(path, &problem))
}

fn show(context: &Context, limit: u64) -> Result<u8, Failure> {
    let home = context.home_at_rest()?;
    let (reader, tenant) = (reader(&home)?, tenant());
    let head = reader.head(&tenant).map_err(|problem| unreadable(&problem))?;
    let mut entries = Vec::new();
    for entry in reader.entries(&tenant, (head + 1).saturating_sub(limit)) {
        entries.push(entry.map_err(|problem| unreadable(&problem))?);
    }
    list(context, &entries)
}

fn list(context: &Context, entries: &[Entry]) -> Result<u8, Failure> {
    if context.is_json() {
        print_json(&entries.iter().map(in_json).collect::<Vec<Value>>())?;
        return Ok(exit::DONE);
    }
    let paint = paint::out();
    for entry in entries {
        match Record::from_bytes(&entry.body) {
            Ok(record) => {
                let line = paint::harmless(&summary::of(&record)).into_owned();
                let refused = was_refused(&record);
                let line = if refused { paint.warn(&line) } else { line };
                outln!("{:>7}  {}  {line}", entry.seq, paint.faint(&record.at.wall.to_string()));
            }
            Err(_) => {
                outln!("{:>7}  {} bytes that are not a record of this version", entry.seq, entry.body.len())
            }
        }
    }
    Ok(exit::DONE)
}

/// An entry with its place and its leaf of the Merkle tree. Bytes that are not JSON stay out; their hash is there.
fn in_json(entry: &Entry) -> Value {
    let leaf = Digest::from_bytes(tree::leaf_hash(&entry.body));
    let body: Value = serde_json::from_slice(&entry.body).unwrap_or_default();
    json!({ "seq": entry.seq, "leaf": leaf, "record": body })
}

fn show_one(context: &Context, seq: u64) -> Result<u8, Failure> {
    let home = context.home_at_rest()?;
    let found = reader(&home)?.entry(&tenant(), seq).map_err(|problem| unreadable(&problem))?;
    print_json(&in_json(&found.ok_or_else(|| no_entry(seq))?))?;
    Ok(exit::DONE)
}

fn no_entry(seq: u64) -> Failure {
    Failure::new("EP0715", format!("there is no entry {seq}"))
        .hint("`eparch ledger show` lists the newest ones")
}

fn query(context: &Context, asked: &Query) -> Result<u8, Failure> {
    let home = context.home_at_rest()?;
    let (reader, tenant) = (reader(&home)?, tenant());
    let not_before =
        asked.since.map(|since| when::now().millis() - i64::try_from(since.millis()).unwrap_or(i64::MAX));
    let mut found = std::collections::VecDeque::new();
    for entry in reader.entries(&tenant, 1) {
        let entry = entry.map_err(|problem| unreadable(&problem))?;
        let Ok(record) = Record::from_bytes(&entry.body) else { continue };
        if not_before.is_some_and(|from| record.at.wall.millis() < from) || !fits(asked, &record) {
            continue;
        }
        found.push_back(entry);
        if found.len() > asked.limit {
            found.pop_front();
        }
    }
    list(context, found.make_contiguous())
}

/// Whether what was asked for was refused, or policy said no.
fn was_refused(record: &Record) -> bool {
    let denied = |fact: &Fact| matches!(fact, Fact::ActionDecided(ruled) if ruled.permit.is_none());
    matches!(record.decision.answer, Answer::Refused(_)) || record.decision.facts.iter().any(denied)
}

/// Whether a record is what was asked for. Ids are looked for wherever they stand in the event and in what followed.
fn fits(asked: &Query, record: &Record) -> bool {
    if asked.refused && !was_refused(record) {
        return false;
    }
    let whole = serde_json::to_value(record).unwrap_or_default();
    let ids = [
        asked.run.map(|id| id.to_string()),
        asked.agent.map(|id| id.to_string()),
        asked.gate.map(|id| id.to_string()),
    ];
    if !ids.iter().flatten().all(|id| mentions(&whole, &mut |_, text| text == id)) {
        return false;
    }
    let by_keys = ["by", "requester"];
    let by = |name: &Name| {
        mentions(&whole["event"], &mut |key, text| by_keys.contains(&key) && text == name.as_str())
    };
    if !asked.by.as_ref().is_none_or(by) {
        return false;
    }
    let types = std::iter::once(&whole["event"]).chain(whole["facts"].as_array().into_iter().flatten());
    asked.kind.as_ref().is_none_or(|kind| types.into_iter().any(|part| part["type"] == kind.as_str()))
}

/// Whether some text in a value is looked for; texts come with the key they stand under.
fn mentions(value: &Value, wanted: &mut dyn FnMut(&str, &str) -> bool) -> bool {
    fn walk(key: &str, value: &Value, wanted: &mut dyn FnMut(&str, &str) -> bool) -> bool {
        match value {
            Value::String(text) => wanted(key, text),
            Value::Array(items) => items.iter().any(|item| walk(key, item, wanted)),
            Value::Object(fields) => fields.iter().any(|(key, value)| walk(key, value, wanted)),
            _ => false,
        }
    }
    walk("", value, wanted)
}

async fn checkpoint(context: &Context) -> Result<u8, Failure> {
    let desk = Desk::open(context)?;
    let signed: Value = desk.post_again("/api/ledger/checkpoint", &json!({})).await?;
    if context.is_json() {
        print_json(&signed)?;
    } else {
        outln!("{}", signed["note"].as_str().unwrap_or_default().trim_end());
    }
    Ok(exit::DONE)
}

async fn rebuild_views(context: &Context) -> Result<u8, Failure> {
    let desk = Desk::open(context)?;
    let rebuilt: Value = desk.post_again("/api/ledger/rebuild-views", &json!({})).await?;
    if context.is_json() {
        print_json(&rebuilt)?;
    } else {
        outln!("The read models are those of entry {}.", rebuilt["seq"]);
    }
    Ok(exit::DONE)
}

/// Prints a proof that is complete in itself; a stranger needs nothing beside it but the public key.
fn prove(context: &Context, seq: u64) -> Result<u8, Failure> {
    let home = context.home_at_rest()?;
    let proof: EntryProof = reader(&home)?.prove(&tenant(), seq).map_err(|problem| match problem {
        ProveError::NoEntry { seq } => no_entry(seq),
        ProveError::Unsigned { .. } => {
            Failure::new("EP0720", in_full(&problem)).hint("`eparch ledger checkpoint` signs what stands now")
        }
        ProveError::Read(_) => unreadable(&problem),
    })?;
    // A proof that does not hold here would hold nowhere.
    proof.verify(&[public_key(&home)?]).map_err(|problem| {
        Failure::new("EP0714", format!("entry {seq} cannot be proved: {}", in_full(&problem)))
            .hint("`eparch ledger verify` says what is wrong, and where")
    })?;
    print_json(&proof)?;
    Ok(exit::DONE)
}

/// What an export is checked against.
struct Import<'a> {
    key: Option<&'a Path>,
    checkpoints: &'a [PathBuf],
    allow_unsigned_tail: bool,
}

impl Import<'_> {
    fn carry_out(&self, context: &Context, file: &Path) -> Result<u8, Failure> {
        let keys = [match self.key {
            None => public_key(&context.home_at_rest()?)?,
            Some(path) => known_key(path)?,
        }];
        let mut known = Vec::new();
        for path in self.checkpoints {
            let note = last_note(path).map_err(|problem| cannot_read(path, &problem))?;
            let note = note.ok_or_else(|| cannot_read(path, &"there is no signed checkpoint in it"))?;
            known.push(Checkpoint::verify(&note, &keys).map_err(|problem| cannot_read(path, &problem))?);
        }
        let input = BufReader::new(File::open(file).map_err(|problem| cannot_read(file, &problem))?);
        let report = import_verify(input, &keys, &known).map_err(|problem| cannot_read(file, &problem))?;
        let sound = report.is_sound() || self.allow_unsigned_tail && report.is_sound_but_for_a_tail();
        if context.is_json() {
            let mut shown = serde_json::to_value(&report).unwrap_or_default();
            shown["sound"] = sound.into();
            print_json(&shown)?;
        } else {
            self.show(&report, sound);
        }
        Ok(if sound { exit::DONE } else { exit::FAILED })
    }

    fn show(&self, report: &ImportReport, sound: bool) {
        let paint = paint::out();
        match &report.first_bad {
            None if sound => outln!(
                "{} {} entries, {} checkpoints, root {}",
                paint.good("✔ sound"),
                report.entries,
                report.checkpoints,
                report.root
            ),
            None => outln!(
                "{} no signed checkpoint vouches for {} of it",
                paint.bad("✘ not sound:"),
                if report.is_sound_but_for_a_tail() { "all" } else { "any" }
            ),
            Some(bad) => outln!(
                "{} from entry {} on (line {}): {}",
                paint.bad("✘ not sound"),
                bad.seq,
                bad.line,
                paint::harmless(&bad.what)
            ),
        }
        if report.beyond_last_checkpoint > 0 {
            outln!(
                "  {} entries behind the last checkpoint: nothing vouches for them",
                report.beyond_last_checkpoint
            );
        }
        if report.documents_beyond_last_checkpoint > 0 {
            outln!(
                "  {} documents behind the last checkpoint: nothing vouches for them",
                report.documents_beyond_last_checkpoint
            );
        }
        if report.first_bad.is_none() && !sound {
            let accept = match report.is_sound_but_for_a_tail() {
                true => ", or accept the rest with --allow-unsigned-tail",
                false => "",
            };
            outln!("  name one kept elsewhere with --checkpoint FILE{accept}");
        }
        if sound && self.checkpoints.is_empty() {
            outln!(
                "  whether more came after it, only a checkpoint kept elsewhere can tell: --checkpoint FILE"
            );
        }
    }
}

fn cannot_read(what: &Path, problem: &dyn std::fmt::Display) -> Failure {
    Failure::new("EP0702", format!("cannot read {}: {problem}", what.display()))
        .hint("name a file that is there and that you may read")
        .exit(exit::BAD_DOCUMENT)
}

/// Where the ledger lies, and every folder that its checkpoints are written to.
pub(super) fn check_of(context: &Context, home: &Home, key: VerifierKey) -> Result<Verify, Failure> {
    let mut settings = Settings::in_home(home.root());
    settings.witness_dirs = context.settings(home.root())?.ledger.witness_dirs;
    Ok(Verify::of(&settings, key))
}
