//! Exports and proofs: what a stranger can check without the journal.

use eparch_domain::{Digest, Name};
use eparch_ledger::{
    Append, BODY_MAX, BadProof, Checkpoint, EntryProof, ImportReport, NewDocument, NewEntry, ProveError,
    Reader, WriteError, import_verify,
};

use crate::home::{Home, name};

fn exported(home: &Home, tenant: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Reader::open(home.path()).unwrap().export(&name(tenant), &home.options().keys[0], &mut out).unwrap();
    out
}

fn check(home: &Home, export: &[u8], known: &[Checkpoint]) -> ImportReport {
    import_verify(export, &home.options().keys, known).unwrap()
}

#[test]
fn r121_an_export_verifies_without_the_journal() {
    let home = Home::with_history(300);
    let export = exported(&home, "zeta");
    let report = check(&home, &export, &[]);
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.entries, report.beyond_last_checkpoint), (300, 0));
    let journal = home.verify();
    assert_eq!(report.root, journal.tenants[1].root);
    assert!(
        !String::from_utf8(export).unwrap().contains("acme"),
        "one tenant's export says nothing of another"
    );
    let nobody = check(&home, &exported(&home, "nobody"), &[]);
    assert_eq!((nobody.entries, nobody.first_bad), (0, None));
}

#[test]
fn r121_bytes_that_are_no_text_survive() {
    let home = Home::new();
    let ledger = home.open();
    let bytes: Vec<u8> = (0..=255).collect();
    let documents =
        vec![NewDocument { digest: Digest::of(&bytes), kind: "plan".into(), bytes: bytes.clone() }];
    let odd = ["{\"a\":\"\u{0}\u{7f}\u{2028}\\u0041\"}".as_bytes(), b"", &bytes, b"{\"base64\":\"AA==\"}"];
    let entries = odd.into_iter().map(|body| NewEntry { body: body.to_vec(), ..NewEntry::default() });
    let mut entries: Vec<_> = entries.collect();
    entries[2].documents = documents;
    ledger.append(Append { tenant: name("acme"), after: 0, entries }).unwrap();
    drop(ledger);
    assert_eq!(check(&home, &exported(&home, "acme"), &[]).first_bad, None);
}

#[test]
fn r121_a_changed_export_names_its_first_bad_line_and_seq() {
    let home = Home::with_history(120);
    let export = exported(&home, "acme");
    let (mut line, mut seen) = (1, 0);
    for at in (0..export.len()).step_by(if cfg!(debug_assertions) { 41 } else { 7 }) {
        line += export[seen..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        seen = at;
        let mut bytes = export.clone();
        bytes[at] ^= 1 + u8::try_from(at % 3).unwrap();
        let bad =
            check(&home, &bytes, &[]).first_bad.unwrap_or_else(|| panic!("byte {at} of {}", export.len()));
        let start = export[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if let Some(rest) = export[start..].strip_prefix(b"{\"entry\":{\"seq\":") {
            let seq = rest
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'));
            assert_eq!((bad.line, bad.seq), (line, seq), "byte {at}: {bad:?}");
        } else {
            // A document's kind and a checkpoint's size show at the next signature.
            assert!(bad.line >= line, "byte {at}: {bad:?}");
        }
    }
    let lines: Vec<&[u8]> = export.split_inclusive(|byte| *byte == b'\n').collect();
    for leave_out in 0..lines.len() {
        let bytes = [&lines[..leave_out], &lines[leave_out + 1..]].concat().concat();
        let report = check(&home, &bytes, &[]);
        let checkpoint = lines[leave_out].starts_with(b"{\"checkpoint\"");
        // A checkpoint less is only less to rely on, and the last one is what everything rests on.
        assert_eq!(report.first_bad.is_none(), checkpoint, "line {}", leave_out + 1);
        assert_eq!(report.is_sound(), checkpoint && leave_out + 2 < lines.len(), "line {}", leave_out + 1);
        if let Some(bad) = report.first_bad {
            assert!(bad.line > leave_out as u64);
        }
    }
    for cut in [0, 1, export.len() / 2, export.len() - 1] {
        assert!(check(&home, &export[..cut], &[]).first_bad.is_some());
    }
    assert!(check(&home, &[&export[..], b"{}\n"].concat(), &[]).first_bad.is_some());
}

#[test]
fn r121_a_shortened_export_is_found_by_a_checkpoint_from_elsewhere() {
    let home = Home::with_history(120);
    let export = exported(&home, "acme");
    let known = last(&home, "acme");
    assert!(check(&home, &export, std::slice::from_ref(&known)).is_sound());
    let text = String::from_utf8(export).unwrap();
    let cut = text.find("{\"entry\":{\"seq\":81,").unwrap();
    let cut = format!("{}{{\"end\":{{\"entries\":80}}}}\n", &text[..cut]);
    assert!(check(&home, cut.as_bytes(), &[]).is_sound(), "as far as it goes");
    let bad = check(&home, cut.as_bytes(), &[known]).first_bad.unwrap();
    assert_eq!(bad.seq, 81);
}

fn last(home: &Home, tenant: &str) -> Checkpoint {
    let note = Reader::open(home.path()).unwrap().checkpoint(&name(tenant)).unwrap().unwrap();
    Checkpoint::verify(&note, &home.options().keys).unwrap()
}

/// Anybody can write these lines: the public key is public.
#[test]
fn g3_an_export_that_nothing_vouches_for_is_not_sound() {
    let home = Home::with_history(10);
    let mut forged = format!(
        "{{\"header\":{{\"format\":1,\"tenant\":\"acme\",\"key\":\"{}\"}}}}\n",
        home.options().keys[0]
    );
    for seq in 1..=3 {
        let leaf = Digest::from_bytes(eparch_ledger::tree::leaf_hash(b"{}"));
        forged += &format!("{{\"entry\":{{\"seq\":{seq},\"leaf\":\"{leaf}\",\"body\":\"{{}}\"}}}}\n");
    }
    forged += "{\"end\":{\"entries\":3}}\n";
    let report = check(&home, forged.as_bytes(), &[]);
    assert_eq!((report.first_bad.as_ref(), report.beyond_last_checkpoint), (None, 3));
    assert!(!report.is_sound() && !report.is_sound_but_for_a_tail());
    // A tail is what follows something that is vouched for.
    let text = String::from_utf8(exported(&home, "acme")).unwrap();
    let last = text.rfind("{\"checkpoint\"").unwrap();
    let tail = format!("{}{}", &text[..last], &text[last..].split_once('\n').unwrap().1);
    let report = check(&home, tail.as_bytes(), &[]);
    assert!(!report.is_sound() && report.is_sound_but_for_a_tail(), "{report:?}");
    let bare: String =
        text.lines().filter(|line| !line.starts_with("{\"checkpoint\"")).collect::<Vec<_>>().join("\n");
    let report = check(&home, format!("{bare}\n").as_bytes(), &[]);
    assert!(report.first_bad.is_none() && !report.is_sound_but_for_a_tail(), "{report:?}");
    let nothing = check(&home, &exported(&home, "nobody"), &[]);
    assert!(nothing.is_sound() && nothing.is_sound_but_for_a_tail());
}

#[test]
fn r121_documents_are_held_to_every_checkpoint_and_to_none_behind_the_last() {
    let home = Home::with_history(120);
    let text = String::from_utf8(exported(&home, "acme")).unwrap();
    let document = |bytes: &str| {
        format!(
            "{{\"document\":{{\"digest\":\"{}\",\"kind\":\"plan\",\"bytes\":\"{bytes}\"}}}}\n",
            Digest::of(bytes.as_bytes())
        )
    };
    let end = text.find("{\"end\"").unwrap();
    let report =
        check(&home, format!("{}{}{}", &text[..end], document("forged"), &text[end..]).as_bytes(), &[]);
    assert_eq!((report.documents_beyond_last_checkpoint, report.is_sound()), (1, false));
    // With the checkpoints inside taken out, the one from elsewhere vouches for documents as well.
    let bare: String =
        text.split_inclusive('\n').filter(|line| !line.starts_with("{\"checkpoint\"")).collect();
    let known = [last(&home, "acme")];
    assert!(!check(&home, bare.as_bytes(), &[]).is_sound());
    let report = check(&home, bare.as_bytes(), &known);
    assert!(report.is_sound(), "{report:?}");
    let swapped = bare.replace(&document("plan acme 51"), &document("plan acme 52"));
    assert_ne!(swapped, bare);
    assert!(check(&home, swapped.as_bytes(), &[]).first_bad.is_none());
    let bad = check(&home, swapped.as_bytes(), &known).first_bad.unwrap();
    assert!(bad.what.contains("the documents up to entry 120"), "{bad:?}");
    // One of another tenant contradicts it, too.
    let bad = check(&home, bare.as_bytes(), &[last(&home, "zeta")]).first_bad.unwrap();
    assert!(bad.what.contains("/zeta"), "{bad:?}");
}

#[test]
fn r121_a_hostile_line_is_refused_where_it_turns_hostile_and_quoted_in_short() {
    let home = Home::with_history(2);
    // Numbers in a list take thirty times their text when they are kept until it is known what they are for.
    let digest = Digest::of(b"");
    let list = format!("{{\"entry\":{{\"seq\":1,\"leaf\":\"{digest}\",\"body\":[");
    let line = format!("{list}{}0]}}}}\n", "0,".repeat(100_000));
    let bad = check(&home, line.as_bytes(), &[]).first_bad.unwrap();
    assert!(bad.what.contains(&format!("column {}", list.len())), "{bad:?}");
    for body in
        ["{\"base64\":\"AA==\",\"base64\":\"AA==\"}", "{}", "{\"other\":\"AA==\"}", "7", "{\"base64\":[1]}"]
    {
        let line = format!("{{\"entry\":{{\"seq\":1,\"leaf\":\"{digest}\",\"body\":{body}}}}}\n");
        assert!(
            check(&home, line.as_bytes(), &[]).first_bad.unwrap().what.starts_with("not a line"),
            "{body}"
        );
    }
    for long in [
        format!("{{\"header\":{{\"format\":1,\"tenant\":\"acme\",\"key\":\"{}\"}}}}\n", "k".repeat(100_000)),
        format!("{{\"{}\":1}}\n", "v".repeat(100_000)),
    ] {
        let bad = check(&home, long.as_bytes(), &[]).first_bad.unwrap();
        assert!(bad.what.len() < 300, "{} bytes", bad.what.len());
    }
}

#[test]
fn r121_what_is_longer_than_any_line_of_an_export_is_not_kept() {
    let home = Home::new();
    let ledger = home.open();
    let long = || vec![b'x'; BODY_MAX + 1];
    let document =
        |kind: &str, bytes: Vec<u8>| NewDocument { digest: Digest::of(b""), kind: kind.into(), bytes };
    for entry in [
        NewEntry { body: long(), ..NewEntry::default() },
        NewEntry { documents: vec![document("plan", long())], ..NewEntry::default() },
        NewEntry { documents: vec![document(&"x".repeat(65), Vec::new())], ..NewEntry::default() },
    ] {
        let refused =
            ledger.append(Append { tenant: name("acme"), after: 0, entries: vec![entry] }).unwrap_err();
        assert!(matches!(refused, WriteError::TooLong { .. }) && refused.is_refusal(), "{refused:?}");
    }
}

#[test]
fn r121_proofs_hold_for_their_entry_and_no_other() {
    let home = Home::with_history(300);
    let (keys, acme) = (home.options().keys, name("acme"));
    let reader = Reader::open(home.path()).unwrap();
    for seq in [1, 2, 39, 40, 41, 255, 256, 257, 299, 300] {
        let proof = reader.prove(&acme, seq).unwrap();
        let text = serde_json::to_string(&proof).unwrap();
        assert!(proof.path.len() * 32 <= 1024, "a proof's hashes stay below a kilobyte");
        let proof: EntryProof = serde_json::from_str(&text).unwrap();
        assert!(proof.verify(&keys).unwrap().size >= seq);
        let other = EntryProof { seq: seq % 300 + 1, ..proof.clone() };
        assert_eq!(other.verify(&keys), Err(BadProof::Path));
        let other = EntryProof { body: b"{}".to_vec(), ..proof.clone() };
        assert_eq!(other.verify(&keys), Err(BadProof::Path));
        let other = EntryProof { tenant: name("zeta"), ..proof.clone() };
        assert_eq!(other.verify(&keys), Err(BadProof::Origin));
        let other = EntryProof { checkpoint: reader.checkpoint(&name("zeta")).unwrap().unwrap(), ..proof };
        assert_eq!(other.verify(&keys), Err(BadProof::Origin));
    }
    assert!(matches!(reader.prove(&acme, 301), Err(ProveError::NoEntry { seq: 301 })));
    for size in [1, 40, 100, 256, 300] {
        let proof = reader.prove_prefix(&acme, size).unwrap();
        let (old, new) = proof.verify(&keys).unwrap();
        assert!(old.size >= size && new.size == 300);
        let mut other = proof.clone();
        match other.path.first_mut() {
            Some(first) => *first = Digest::of(b"other"),
            None => other.path.push(Digest::of(b"other")),
        }
        assert_eq!(other.verify(&keys), Err(BadProof::Path));
    }
    assert!(reader.prove_prefix(&acme, 301).is_err());
    assert!(reader.prove_prefix(&Name::new("nobody").unwrap(), 1).is_err());
}
