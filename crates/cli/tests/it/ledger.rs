//! The audit trail: read, verified, proved and exported without a holder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use serde_json::Value;

use crate::console::{Place, one_stage};

/// Changes a byte of the journal at every copy of a text; the file may hold abandoned ones of a row.
fn damage(place: &Place, mark: &[u8]) {
    let journal = place.home().join("journal.db");
    let mut bytes = fs::read(&journal).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - mark.len()).filter(|at| bytes[*at..].starts_with(mark)).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[at + mark.len() - 2] ^= 1);
    fs::write(&journal, bytes).unwrap();
}

/// A home in which something has happened, and that nobody holds.
fn place_with_history() -> Place {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("echo hello"));
    place.ok(&["run", &file]);
    let gone = place.say(&["run", &file, "--as", "stranger"]);
    assert_eq!(gone.code, 1);
    place.end_holder(Signal::TERM);
    place
}

#[test]
fn g3_a_clean_ledger_verifies_and_a_flipped_byte_is_named() {
    let place = place_with_history();
    let said = place.say(&["ledger", "verify"]);
    assert_eq!(said.code, 0, "{said:?}");
    let report = place.json(&["ledger", "verify"]);
    assert_eq!((report["clean"].as_bool(), report["first_bad"].is_null()), (Some(true), true));
    assert!(place.holder().is_none(), "verifying needs no holder");

    damage(&place, b"\"type\":\"run_requested\"");
    let said = place.say(&["ledger", "verify"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("from entry 5 on"), "{said:?}");
    let said = place.say(&["ledger", "verify", "--format", "json"]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, report["first_bad"]["seq"].as_u64()), (1, Some(5)));
    assert_eq!(place.say(&["ledger", "show"]).code, 1);
}

#[test]
fn r121_verify_says_whose_word_it_takes_for_what_lies_outside_the_home() {
    let place = Place::new();
    place.ok(&["init"]);
    let witness = place.path("witness");
    fs::create_dir(&witness).unwrap();
    let folder = witness.display().to_string();
    fs::write(place.home().join("eparch.toml"), format!("[ledger]\nwitness_dirs = [{folder:?}]\n")).unwrap();
    place.ok(&["run", &place.file("p.yaml", &one_stage("echo hello"))]);
    place.end_holder(Signal::TERM);
    let verify = |words: &[&str]| place.say(&[&["ledger", "verify"], words].concat());
    let said = verify(&[]);
    assert!(said.code == 0 && said.out.contains("only the home says where it lies"), "{said:?}");
    assert!(!said.out.contains("cannot have rewritten"), "{said:?}");
    let said = verify(&["--anchors", &folder]);
    assert!(said.code == 0 && said.out.contains("cannot have rewritten"), "{said:?}");
    let other = Place::new();
    other.ok(&["init"]);
    other.ok(&["run", &other.file("p.yaml", &one_stage("echo hello"))]);
    let key = |of: &Place| of.home().join("keys/ledger.pub").display().to_string();
    assert_eq!(verify(&["--public-key", &key(&place)]).code, 0);
    assert_eq!(verify(&["--public-key", &key(&other)]).code, 1);
    assert_eq!(verify(&["--public-key", "nowhere"]).code, 65);
    // A witness that is asked for and cannot answer is no answer; one that the settings name is missed.
    let said = verify(&["--anchors", &format!("{folder}-of-another-name")]);
    assert!(said.code == 1 && said.out.contains("cannot be read"), "{said:?}");
    fs::rename(&witness, place.path("away")).unwrap();
    let said = verify(&[]);
    assert!(said.code == 0 && said.out.contains("witness cannot be read"), "{said:?}");
    assert!(said.out.contains("see that the folders of witness_dirs"), "{said:?}");
}

#[test]
fn g10_everything_is_decided_again_the_same() {
    let place = place_with_history();
    let report = place.json(&["ledger", "verify", "--replay"]);
    assert!(report["replay"]["difference"].is_null(), "{report}");
    assert_eq!(report["replay"]["decided"], report["tenants"][0]["entries"]);
    assert!(place.ok(&["ledger", "verify", "--replay"]).contains("decided again, the same"));
    assert_eq!(report["replay"]["snapshots"], 1, "the holder saved a state when it left");
}

#[test]
fn g10_a_saved_state_that_the_entries_do_not_lead_to_is_found_even_if_it_is_signed() {
    let place = place_with_history();
    let tenant = eparch_domain::Name::new("default").unwrap();
    let at = eparch_domain::Timestamp::from_millis(0);
    let ledger =
        eparch_ledger::Ledger::open(&eparch_ledger::Settings::in_home(&place.home()), at, "test").unwrap();
    let mut saved = ledger.snapshot(&tenant).unwrap().unwrap();
    let mark = b"\"max_tier\":";
    let found = (0..saved.body.len() - mark.len()).find(|at| saved.body[*at..].starts_with(mark)).unwrap();
    saved.body[found + mark.len()] ^= 1;
    let seq = saved.seq;
    ledger.save_snapshot(&tenant, seq, move |to| to.write_all(&saved.body)).unwrap();
    drop(ledger);
    assert_eq!(place.say(&["ledger", "verify"]).code, 0, "it is what was saved");
    let said = place.say(&["ledger", "verify", "--replay"]);
    assert!(
        said.code == 1 && said.out.contains(&format!("entry {seq}: the state saved after it")),
        "{said:?}"
    );
}

#[test]
fn entries_are_shown_found_and_proved() {
    let place = place_with_history();
    let text = place.ok(&["ledger", "show"]);
    assert!(text.lines().count() > 3 && text.contains("run_"), "{text}");
    assert_eq!(place.ok(&["ledger", "show", "-n", "2"]).lines().count(), 2);
    let entry = place.json(&["ledger", "show", "5"]);
    assert_eq!(entry["record"]["event"]["type"], "run_requested");
    assert!(entry["leaf"].as_str().unwrap().starts_with("sha256:"));
    let run = entry["record"]["event"]["run"].as_str().unwrap();
    let found = place.json(&["ledger", "query", "--run", run, "--type", "run_requested"]);
    assert_eq!((found.as_array().unwrap().len(), found[0]["seq"].as_u64()), (1, Some(5)));
    assert_eq!(place.json(&["ledger", "query", "--refused"]).as_array().unwrap().len(), 0);
    let proof = place.json(&["ledger", "prove", "5"]);
    assert_eq!(proof["seq"], 5);
    assert!(proof["checkpoint"].as_str().unwrap().starts_with("eparch/"));
    assert!(place.say(&["ledger", "prove", "999"]).err.contains("EP0715"));
    assert!(place.holder().is_none(), "none of it needs a holder");
    assert!(place.ok(&["ledger", "checkpoint"]).contains("eparch/"));
    assert!(place.ok(&["ledger", "rebuild-views"]).contains("entry"));
}

#[test]
fn an_export_is_checked_elsewhere() {
    let place = place_with_history();
    let export = place.path("export.jsonl");
    let file = export.display().to_string();
    place.ok(&["ledger", "export", "--output", &file]);
    let key = place.home().join("keys/ledger.pub").display().to_string();
    let elsewhere = Place::new();
    let check = ["ledger", "import-verify", file.as_str(), "--public-key", key.as_str()];
    assert!(elsewhere.ok(&check).contains("sound"));
    let text = fs::read_to_string(&export).unwrap();
    fs::write(&export, text.replacen("hello", "hallo", 1)).unwrap();
    assert_eq!(elsewhere.say(&check).code, 1);
    // Cut behind a checkpoint it is sound as far as it goes; one that was kept elsewhere says how far it went.
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let signed = lines.iter().position(|line| line.starts_with("{\"checkpoint\"")).unwrap();
    let entries = lines[..signed].iter().filter(|line| line.starts_with("{\"entry\"")).count();
    fs::write(&export, format!("{}{{\"end\":{{\"entries\":{entries}}}}}\n", lines[..=signed].concat()))
        .unwrap();
    assert!(elsewhere.ok(&check).contains("only a checkpoint kept elsewhere can tell"));
    let kept = place.home().join("anchors/default.checkpoints").display().to_string();
    let against = [&check[..], &["--checkpoint", kept.as_str()]].concat();
    let said = elsewhere.say(&against);
    assert!(said.code == 1 && said.out.contains(&format!("from entry {} on", entries + 1)), "{said:?}");
    fs::write(&export, &text).unwrap();
    assert!(elsewhere.ok(&against).contains("sound"));
    assert_eq!(elsewhere.say(&[&check[..], &["--checkpoint", key.as_str()]].concat()).code, 65);
    // What nothing vouches for is not sound, unless that is asked for.
    let unsigned: String =
        lines.iter().filter(|line| !line.starts_with("{\"checkpoint\"")).copied().collect();
    fs::write(&export, unsigned).unwrap();
    let said = elsewhere.say(&check);
    assert!(said.code == 1 && said.out.contains("no signed checkpoint vouches for any"), "{said:?}");
    let allowing = [&check[..], &["--allow-unsigned-tail"]].concat();
    assert_eq!(elsewhere.say(&allowing).code, 1, "there is nothing that it would be the tail of");
    let mut tail = lines.clone();
    tail.remove(lines.iter().rposition(|line| line.starts_with("{\"checkpoint\"")).unwrap());
    fs::write(&export, tail.concat()).unwrap();
    let said = elsewhere.say(&check);
    assert!(said.code == 1 && said.out.contains("no signed checkpoint vouches for all"), "{said:?}");
    assert!(elsewhere.ok(&allowing).contains("nothing vouches for them"));
    // Text of the file is shown as text.
    let hostile = text.replacen("\"key\":\"", "\"key\":\"\\u001b]0;owned\\u0007\\u001b[2J", 1);
    assert_ne!(hostile, text);
    fs::write(&export, hostile).unwrap();
    let said = elsewhere.say(&check);
    assert!(said.code == 1 && said.out.contains("owned") && !said.out.contains('\u{1b}'), "{said:?}");
    assert_eq!(elsewhere.say(&["ledger", "import-verify", "nowhere", "--public-key", &key]).code, 65);
    assert_eq!(place.ok(&["ledger", "export"]), text);
}

#[test]
fn an_export_replaces_another_only_once_it_is_whole_and_stays_for_those_who_could_read_it() {
    let place = place_with_history();
    let export = place.path("export.jsonl");
    let file = export.display().to_string();
    place.ok(&["ledger", "export", "--output", &file]);
    let old = fs::read(&export).unwrap();
    let readers = || fs::metadata(&export).unwrap().permissions().mode() & 0o777;
    for mode in [0o600, 0o644, 0o440] {
        fs::set_permissions(&export, fs::Permissions::from_mode(mode)).unwrap();
        // What an export that was interrupted has left is in nobody's way.
        fs::write(place.path("export.jsonl.draft"), "x".repeat(1 << 20)).unwrap();
        place.ok(&["ledger", "export", "--output", &file]);
        assert_eq!(readers(), mode);
        assert!(fs::read(&export).unwrap() == old);
    }
    // Nor do two of them write one file.
    let draft = fs::File::create(place.path("export.jsonl.draft")).unwrap();
    draft.lock().unwrap();
    let said = place.say(&["ledger", "export", "--output", &file]);
    assert!(said.code == 1 && said.err.contains("EP0712") && said.err.contains("another export"), "{said:?}");
    drop(draft);
    // Over itself, through a link, and to a place that takes what comes.
    std::os::unix::fs::symlink(&export, place.path("link")).unwrap();
    place.ok(&["ledger", "export", "--output", &place.path("link").display().to_string()]);
    assert!(place.path("link").is_symlink() && fs::read(&export).unwrap() == old);
    let full = place.say(&["ledger", "export", "--output", "/dev/full"]);
    assert!(full.code == 1 && full.err.contains("EP0712"), "{full:?}");
    // Whoever reads no further has had enough.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let cut = place.command(&["ledger", "export"]).stdout(writer).output().unwrap();
    assert!(cut.status.success() && cut.stderr.is_empty(), "{cut:?}");

    let journal = place.home().join("journal.db");
    let mut bytes = fs::read(&journal).unwrap();
    let mark = b"\"type\":\"run_requested\"";
    let at = (0..bytes.len() - mark.len()).filter(|at| bytes[*at..].starts_with(mark));
    // How large a page is stands in the file's header.
    let size = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    for page in at.map(|at| at / size * size).collect::<Vec<_>>() {
        bytes[page..page + size].fill(0xff);
    }
    fs::write(&journal, bytes).unwrap();
    let said = place.say(&["ledger", "export", "--output", &file]);
    assert!(said.code == 1 && said.err.contains("EP0719"), "{said:?}");
    assert!(fs::read(&export).unwrap() == old, "the one that was there is the only one");
    let drafts = fs::read_dir(export.parent().unwrap()).unwrap();
    let drafts =
        drafts.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "draft"));
    assert_eq!(drafts.count(), 0);
}

#[test]
fn r062_who_may_approve_is_read_from_the_last_saved_state_and_what_follows() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["operator", "add", "bob", "--role", "approver", "--group", "friends"]);
    place.ok(&["operator", "add", "cyd", "--role", "approver"]);
    place.end_holder(Signal::TERM);
    // What came before the saved state is not read.
    damage(&place, b"\"type\":\"operator_added\",\"by\":null");
    place.ok(&["operator", "add", "eve", "--role", "approver"]);
    place.ok(&["operator", "remove", "cyd"]);
    place.end_holder(Signal::KILL);
    let check = |approver: &str| {
        let text =
            format!("name: g\nstages:\n  - {{name: g, type: gate, config: {{approvers: [{approver}]}}}}\n");
        !place.ok(&["pipeline", "validate", &place.file("g.yaml", &text)]).contains("warning[")
    };
    assert_eq!(["ada", "bob", "friends", "eve", "admin"].map(check), [true; 5]);
    assert_eq!(["cyd", "mallory"].map(check), [false; 2]);
    assert!(place.holder().is_none(), "checking needs no holder");
}

#[test]
fn what_cannot_be_read_of_the_ledger_is_not_told_as_missing() {
    let place = Place::new();
    let text = format!("description: a word or two\n{}", one_stage("true"));
    place.ok(&["run", &place.file("p.yaml", &text)]);
    place.end_holder(Signal::TERM);
    // It is in the definition, and in no entry.
    damage(&place, b"a word or two");
    let said = place.say(&["runs", "retry", "--last", "--from", "only"]);
    assert!(said.code == 1 && said.err.contains("EP0719") && said.err.contains("damaged"), "{said:?}");
}
