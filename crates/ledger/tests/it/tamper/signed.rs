//! Somebody who hashes everything anew, and has no key: found by what is signed, and by what is kept outside.

use std::fs;

use eparch_domain::{Digest, Timestamp, hex};
use eparch_ledger::tree::leaf_hash;
use eparch_ledger::{Append, Ledger, OpenError, WriteError, Wrong};

use super::Drill;
use crate::home::{Home, entry, name};

#[test]
fn r121_a_cut_tail_is_found_against_the_checkpoint_outside() {
    let drill = Drill::new(120);
    for left in [0, 1, 50, 79, 80, 119] {
        let cut = format!("DELETE FROM entry WHERE tenant = 1 AND seq > {left};");
        let thorough = format!(
            "{cut} DELETE FROM checkpoint WHERE tenant = 1 AND size > {left}; DELETE FROM outbox WHERE tenant = 1 AND seq > {left};
             DELETE FROM document WHERE tenant = 1 AND seq > {left};"
        );
        let report = drill.after(&cut);
        assert!(
            report
                .findings
                .iter()
                .any(|finding| finding.wrong == Wrong::Cut && finding.seq == Some(left + 1))
        );
        let report = drill.after(&thorough);
        let first = report.first_bad().unwrap();
        assert_eq!((first.wrong, first.seq), (Wrong::Cut, Some(left + 1)), "{:?}", report.findings);
        // What is past the end holds for nothing.
        let acme = &report.tenants[0];
        assert!(acme.anchored <= left && acme.anchored_outside_home <= left, "{acme:?}");
        assert_eq!(acme.beyond_last_anchor, left - acme.anchored);
        assert_eq!(report.witnessed, left == 0 || acme.anchored > 0, "{acme:?}");
    }
    let all: String = ["entry", "subtree", "document", "checkpoint", "outbox", "tally"]
        .map(|table| format!("DELETE FROM {table} WHERE tenant = 1;"))
        .concat();
    let report = drill.after(&format!("{all} DELETE FROM tenant WHERE id = 1;"));
    let first = report.first_bad().unwrap();
    assert_eq!((first.wrong, first.seq, first.tenant.as_deref()), (Wrong::Cut, Some(1), Some("acme")));
}

#[test]
fn r121_a_chain_hashed_anew_without_the_key_is_found() {
    let drill = Drill::new(300);
    let checks = "DELETE FROM checkpoint WHERE tenant = 1;";
    for seq in [1, 39, 41, 200, 256, 299] {
        let changed = drill
            .rehash(1, |at, body| Some(if at == seq { b"{\"event\":\"nothing\"}".to_vec() } else { body }));
        let removed = drill.rehash(1, |at, body| (at != seq).then_some(body));
        for (kind, sql) in [("changed", changed), ("removed", removed)] {
            let report = drill.after(&sql);
            let first = report.first_bad().unwrap();
            if (kind, seq) == ("removed", 299) {
                // No checkpoint lies between it and the end: what shows is that one entry is missing.
                assert_eq!((first.wrong, first.seq), (Wrong::Cut, Some(300)));
            } else {
                let from = first.seq.unwrap();
                assert!(
                    first.wrong == Wrong::Rewritten && from <= seq && seq < from + 40,
                    "{kind} {seq}: {first:?}"
                );
            }
            assert!(!drill.after(&(sql + checks)).is_clean(), "the anchors outside remember, {kind} {seq}");
        }
    }
}

/// Nobody outside remembers anything, and whoever wrote this has no key.
#[test]
fn r121_a_history_without_any_checkpoint_is_found_and_not_signed_on() {
    let home = Home::with_history(120);
    home.forget_anchors();
    let drill = Drill::of(home);
    let rewritten = drill.rehash(1, |at, body| Some(if at == 7 { b"{}".to_vec() } else { body }))
        + "DELETE FROM tally WHERE tenant = 1; DELETE FROM outbox WHERE tenant = 1;";
    let unsigned = format!("{rewritten} DELETE FROM checkpoint WHERE tenant = 1;");
    // A checkpoint that says it is of this history, under a note that was signed for another.
    drill.change(&unsigned);
    let root = drill.home.verify().tenants[0].root;
    drill.restore();
    let mislabelled = format!(
        "{unsigned} INSERT INTO checkpoint SELECT 1, 120, x'{}', note FROM checkpoint WHERE tenant = 2 AND size = 120;",
        root.hex()
    );
    for (kind, changes) in [("unsigned", unsigned), ("mislabelled", mislabelled)] {
        let report = drill.after(&changes);
        let first = report.first_bad().unwrap_or_else(|| panic!("{kind} is called clean"));
        assert_eq!(first.wrong, Wrong::Checkpoint, "{kind}: {:?}", report.findings);
        assert!(
            report.findings.iter().any(|finding| finding.seq == Some(1)),
            "{kind}: {:?}",
            report.findings
        );
        assert_eq!(report.tenants[0].beyond_last_checkpoint, 120);
        assert_eq!(report.tenants[1].beyond_last_checkpoint, 0);
        drill.change(&changes);
        let before = drill.home.verify().tenants[0].checkpoints;
        if kind == "unsigned" {
            let opened = Ledger::open(&drill.home.settings, Timestamp::from_millis(0), "test");
            assert!(matches!(opened, Err(OpenError::Unsigned { entries: 120, .. })), "{opened:?}");
            drill.restore();
            continue;
        }
        let ledger = drill.home.open();
        let append = |tenant: &str| {
            ledger.append(Append { tenant: name(tenant), after: 120, entries: vec![entry(tenant, 121)] })
        };
        assert!(matches!(append("acme"), Err(WriteError::Unreadable(_))), "{kind}");
        assert!(matches!(ledger.checkpoint_now(&name("acme")), Err(WriteError::Unreadable(_))), "{kind}");
        assert_eq!(append("zeta").unwrap().last_seq, 121);
        drop(ledger);
        let report = drill.home.verify();
        assert_eq!((report.is_clean(), report.tenants[0].checkpoints), (false, before), "{kind}");
        drill.restore();
        drill.home.forget_anchors();
    }
    // A whole tenant that somebody made up: its seal needs no key.
    let seal = Digest::of_parts(&[b"tenant", &3i64.to_be_bytes(), b"evil"]);
    let (place, leaf) = ((3i64 << 40) + 1, leaf_hash(b"{}"));
    let first = drill
        .after(&format!(
            "INSERT INTO tenant VALUES (3, 'evil', x'{}'); INSERT INTO entry (place, body, leaf) VALUES ({place}, x'7b7d', x'{}')",
            hex(seal.as_bytes()),
            hex(&leaf)
        ))
        .first_bad()
        .cloned()
        .unwrap();
    assert_eq!((first.wrong, first.tenant.as_deref(), first.seq), (Wrong::Checkpoint, Some("evil"), Some(1)));
}

/// A checkpoint a second, as in any home that has been at work for some minutes.
#[test]
fn r121_the_place_is_named_however_many_checkpoints_there_are() {
    let home = Home::new();
    let ledger = home.open();
    let acme = name("acme");
    for seq in 1..=160 {
        ledger
            .append(Append { tenant: acme.clone(), after: seq - 1, entries: vec![entry("acme", seq)] })
            .unwrap();
        ledger.checkpoint_now(&acme).unwrap();
    }
    drop(ledger);
    let drill = Drill::of(home);
    let cut = "DELETE FROM entry WHERE seq > 40; DELETE FROM checkpoint WHERE size > 40;";
    let report = drill.after(cut);
    let first = report.first_bad().unwrap();
    assert_eq!((first.wrong, first.seq), (Wrong::Cut, Some(41)), "{:?}", report.findings);
    assert!(report.findings.len() < 10, "one cause, few findings: {:?}", report.findings);
    let edited = "UPDATE entry SET body = x'7b7d' WHERE seq = 17; DELETE FROM checkpoint;";
    let first = drill.after(edited).first_bad().unwrap().clone();
    assert_eq!((first.wrong, first.seq), (Wrong::Entry, Some(17)));
    let rehashed = drill.rehash(1, |at, body| Some(if at == 23 { b"{}".to_vec() } else { body }));
    for sql in [rehashed.clone(), rehashed + "DELETE FROM checkpoint;"] {
        let first = drill.after(&sql).first_bad().unwrap().clone();
        assert_eq!((first.wrong, first.seq), (Wrong::Rewritten, Some(23)));
    }
    // More than a hundred notes that are no good, and still the place.
    let spoilt = "UPDATE checkpoint SET root = zeroblob(32); DELETE FROM entry WHERE seq = 9;";
    let report = drill.after(spoilt);
    assert!(report.more > 0);
    let first = report.first_bad().unwrap();
    assert_eq!((first.wrong, first.seq), (Wrong::Gap, Some(9)));
}

/// Somebody without the key who knows how a saved state is written makes one up, or takes one from elsewhere.
#[test]
fn g3_a_snapshot_that_was_made_up_is_found_and_not_believed() {
    let drill = Drill::new(120);
    assert_eq!(drill.home.snapshots(), ["1-120", "1-60", "2-120", "2-60"]);
    let newest = drill.home.snapshot("1-120");
    let whole = fs::read(&newest).unwrap();
    let state = whole.windows(9).position(|bytes| bytes == b"state 120").unwrap();
    let made_up = [&whole[..state], b"state 120 in which I am admin"].concat();
    let of = |name: &str| fs::read(drill.home.snapshot(name)).unwrap();
    let mut other_signature = whole.clone();
    other_signature[state - 1] ^= 1;
    for forged in [made_up, other_signature, of("1-60"), of("2-120"), b"state 120".to_vec()] {
        fs::write(&newest, forged).unwrap();
        let report = drill.home.verify();
        let wrong: Vec<Wrong> = report.findings.iter().map(|finding| finding.wrong).collect();
        assert_eq!(wrong, [Wrong::Snapshot], "{:?}", report.findings);
        let file = newest.display().to_string();
        assert!(report.findings[0].what.ends_with(&format!("remove {file}")), "{:?}", report.findings);
        let ledger = drill.home.open();
        let believed = ledger.snapshot(&name("acme")).unwrap().unwrap().seq;
        assert_eq!(believed, 60, "the one before it is as it was saved");
        let notices = ledger.health().notices;
        assert!(notices.len() == 1 && notices[0].contains("after entry 120"), "{notices:?}");
    }
    // One that is gone costs time, and nothing else. What has another name was never one.
    fs::remove_file(&newest).unwrap();
    fs::write(drill.home.snapshot("1-0120"), "state 120").unwrap();
    assert!(drill.home.verify().is_clean());
    let mut folder = fs::read_dir(drill.home.snapshot("")).unwrap();
    assert!(folder.all(|file| file.unwrap().metadata().unwrap().is_file()));
}

#[test]
fn r121_a_changed_anchor_is_found() {
    let drill = Drill::new(120);
    for path in [drill.home.anchor("acme"), drill.home.witness("zeta")] {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let report = drill.home.verify();
            // The last line's end may look like a write that was cut off, which the notices say.
            assert!(!report.is_clean() || !report.notices.is_empty(), "byte {at}");
        }
        // A note taken out of the middle.
        let second = whole
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| pair == b"\n\n")
            .map(|(at, _)| at + 2)
            .nth(1)
            .unwrap();
        fs::write(&path, &whole[second..]).unwrap();
        assert!(!drill.home.verify().is_clean());
        fs::write(&path, &whole).unwrap();
    }
}
