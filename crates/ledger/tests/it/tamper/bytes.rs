//! Bytes of the file that flip, pages that go astray, files that were cut.

use std::fs;

use eparch_ledger::VerifyError;

use super::{Dice, Drill, content, thoroughness};

/// The verdict on the journal with some bytes changed: clean only if everything still reads the same.
fn judge(drill: &Drill, bytes: &[u8], what: &str) -> bool {
    fs::write(drill.home.path(), bytes).unwrap();
    let report = match drill.home.options().run() {
        // It says that another version wrote it, so this one does not say that it is clean.
        Err(VerifyError::TooNew { .. }) => return true,
        other => other.unwrap(),
    };
    if report.is_clean() {
        match content(drill.home.path()) {
            Ok(content) => {
                let table = content.iter().find(|(table, rows)| drill.content[*table] != **rows);
                assert!(table.is_none(), "{what}: clean, yet this reads otherwise: {table:?}");
            }
            Err(error) => panic!("{what}: clean, yet it cannot be read: {error}"),
        }
    }
    !report.is_clean()
}

/// The bytes of a page, as the header has them.
fn page_bytes(journal: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([journal[16], journal[17]]))
}

#[test]
fn r121_any_flipped_byte_of_the_file_is_found_or_means_nothing() {
    let drill = Drill::new(240);
    let (size, page) = (drill.journal.len(), page_bytes(&drill.journal));
    let mut places: Vec<usize> =
        (0..size).step_by(97.max(size / (1_200 * thoroughness())).min(size)).collect();
    // Every byte of the header, and of the start of each page, where its structure is.
    places.extend(0..100);
    places.extend((page..size).step_by(page).flat_map(|page| page..page + 12));
    let mut found = 0;
    let mut dice = Dice(3);
    for at in &places {
        let mut bytes = drill.journal.clone();
        bytes[*at] ^= 1 << dice.roll(8);
        found += usize::from(judge(&drill, &bytes, &format!("byte {at} of {size}")));
    }
    // Pages are full of content: if most flips went unnoticed, the verdicts would mean nothing.
    assert!(found * 2 > places.len(), "{found} of {}", places.len());
}

#[test]
fn r121_a_file_that_was_cut_or_padded_or_lost_pages_is_damage() {
    let drill = Drill::new(240);
    let (size, page) = (drill.journal.len(), page_bytes(&drill.journal));
    for length in [0, 1, 99, 100, page - 1, page, size / 2, size - page, size - 1] {
        fs::write(drill.home.path(), &drill.journal[..length]).unwrap();
        assert!(!drill.home.verify().is_clean(), "cut to {length} of {size}");
    }
    // SQLite reads as many pages as the header counts, and nothing behind them means anything.
    for more in [1, 100, page, 50_000] {
        let padded = [&drill.journal[..], &vec![0xa5; more]].concat();
        judge(&drill, &padded, &format!("{more} bytes more"));
    }
    let mut dice = Dice(4);
    let (mut found, rounds) = (0, 30 * thoroughness());
    for _ in 0..rounds {
        let mut bytes = drill.journal.clone();
        let (one, other) = (1 + dice.roll(size / page - 1), 1 + dice.roll(size / page - 1));
        let span = |number: usize| number * page..(number + 1) * page;
        match dice.roll(3) {
            // A write that went to another place, one that was lost, one that was garbled.
            0 => bytes.copy_within(span(one), other * page),
            1 => bytes[span(one)].fill(0),
            _ => bytes[span(one)].iter_mut().for_each(|byte| *byte = byte.rotate_left(3)),
        }
        let changed = bytes != drill.journal;
        found += usize::from(judge(&drill, &bytes, &format!("page {one} over {other}")) || !changed);
    }
    // Every page is in use, or was until lately; one that no longer is may hold anything.
    assert!(found * 10 >= rounds * 9, "{found} of {rounds}");
}
