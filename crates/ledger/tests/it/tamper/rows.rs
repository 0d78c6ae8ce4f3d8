//! Rows that were changed, swapped or deleted, and the schema that guards them.

use eparch_domain::hex;
use eparch_ledger::Wrong;

use super::{Dice, Drill, thoroughness};
use crate::home::body;

#[test]
fn r121_a_changed_entry_is_named() {
    let drill = Drill::new(300);
    let sample = 300 / (20 * thoroughness()).min(300);
    for seq in (1..=300u64).step_by(sample) {
        for change in [
            format!(
                "UPDATE entry SET body = x'{}' WHERE tenant = 2 AND seq = {seq}",
                hex(&body("zeta", seq + 1))
            ),
            format!("UPDATE entry SET leaf = zeroblob(32) WHERE tenant = 2 AND seq = {seq}"),
            format!("UPDATE entry SET body = CAST(body || x'20' AS BLOB) WHERE tenant = 2 AND seq = {seq}"),
        ] {
            let report = drill.after(&change);
            let first = report.first_bad().unwrap();
            assert_eq!((first.wrong, first.seq), (Wrong::Entry, Some(seq)), "{change}");
            assert_eq!(first.tenant.as_deref(), Some("zeta"));
            assert_eq!(report.findings.len(), 1, "one cause, one finding: {:?}", report.findings);
        }
        let report = drill.after(&format!("DELETE FROM entry WHERE tenant = 2 AND seq = {seq}"));
        let first = report.first_bad().unwrap();
        let expected = if seq == 300 { Wrong::Cut } else { Wrong::Gap };
        assert_eq!((first.wrong, first.seq), (expected, Some(seq)));
        let cut = report.findings.iter().any(|finding| finding.wrong == Wrong::Cut);
        assert_eq!(cut, seq == 300, "a gap is not an end: {:?}", report.findings);
    }
}

#[test]
fn r121_swapped_entries_are_named() {
    let drill = Drill::new(120);
    let mut dice = Dice(1);
    for _ in 0..20 * thoroughness() {
        let (a, b) = (1 + dice.roll(120), 1 + dice.roll(120));
        if a == b {
            continue;
        }
        let place = |seq: usize| (1i64 << 40) + i64::try_from(seq).unwrap();
        let (a, b, spare) = (place(a), place(b), place(5_000));
        // Bodies and leaves together: every row agrees with itself, only the order is another.
        let report = drill.after(&format!(
            "UPDATE entry SET place = {spare} WHERE place = {a}; UPDATE entry SET place = {a} WHERE place = {b};
             UPDATE entry SET place = {b} WHERE place = {spare}"
        ));
        let first = report.first_bad().unwrap();
        let lower = (a.min(b) - (1 << 40)).unsigned_abs();
        assert_eq!(first.wrong, Wrong::Rewritten);
        // A checkpoint stands at every fortieth entry: the place is named to within one of them.
        let from = first.seq.unwrap();
        assert!(from <= lower && lower < from + 40, "{first:?} for {lower}");
    }
}

#[test]
fn r121_every_column_of_every_table_is_held_to_something() {
    let drill = Drill::new(300);
    let (connection, mut dice) = (drill.home.raw(), Dice(2));
    let tables = [
        "tenant",
        "entry",
        "subtree",
        "document",
        "checkpoint",
        "boot",
        "schema_migrations",
        "outbox",
        "tally",
    ];
    let mut edits = Vec::new();
    for table in tables {
        let columns: Vec<(String, String)> = connection
            .prepare(&format!("SELECT name, type FROM pragma_table_info('{table}')"))
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let rows = drill.content[table].len();
        for (column, kind) in &columns {
            for _ in 0..8 * thoroughness() {
                // The row by its rank, whatever its key is.
                let rank = dice.roll(rows);
                let keys: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
                let keys = keys.join(", ");
                let place =
                    format!("({keys}) = (SELECT {keys} FROM {table} ORDER BY 1, 2 LIMIT 1 OFFSET {rank})");
                let value = match kind.as_str() {
                    "INTEGER" => format!("{column} + {}", 1_000_000 + dice.roll(1_000)),
                    "TEXT" => format!("{column} || 'x'"),
                    _ => format!("CAST({column} || x'00' AS BLOB)"),
                };
                edits.push(format!("UPDATE {table} SET {column} = {value} WHERE {place}"));
                edits.push(format!("DELETE FROM {table} WHERE {place}"));
            }
        }
    }
    drop(connection);
    let mut missed = Vec::new();
    for edit in &edits {
        if drill.after(edit).is_clean() {
            missed.push(edit);
        }
    }
    assert!(missed.is_empty(), "{} of {} passed as clean: {missed:#?}", missed.len(), edits.len());
}

#[test]
fn r121_a_weakened_schema_is_found() {
    let drill = Drill::new(10);
    let raw = drill.home.raw();
    raw.execute_batch("DROP TRIGGER entry_no_update").unwrap();
    drop(raw);
    let report = drill.home.verify();
    assert!(report.findings.iter().any(|finding| finding.wrong == Wrong::Schema), "{:?}", report.findings);
    assert!(report.findings[0].what.contains("entry_no_update"));
    drill.restore();
    let raw = drill.home.raw();
    raw.execute_batch("CREATE TRIGGER quiet AFTER INSERT ON entry BEGIN DELETE FROM outbox; END").unwrap();
    drop(raw);
    assert!(drill.home.verify().findings[0].what.contains("quiet"));
}

#[test]
fn r121_f13_random_edits_are_all_found() {
    let drill = Drill::new(120);
    let mut dice = Dice(5);
    let edits = 500 * thoroughness();
    for number in 0..edits {
        let seq = 1 + dice.roll(120) as u64;
        let tenant = 1 + dice.roll(2) as i64;
        let sql = match dice.roll(6) {
            0 => format!(
                "UPDATE entry SET body = substr(body, 1, {}) WHERE tenant = {tenant} AND seq = {seq}",
                dice.roll(60)
            ),
            1 => format!("DELETE FROM entry WHERE tenant = {tenant} AND seq = {seq}"),
            2 => format!("DELETE FROM entry WHERE tenant = {tenant} AND seq >= {seq}"),
            3 => drill.rehash(tenant, |at, body| Some(if at == seq { b"{}".to_vec() } else { body })),
            4 => drill.rehash(tenant, |at, body| (at < seq).then_some(body)),
            _ => {
                let bit = dice.roll(8);
                let mut other = body("acme", seq);
                let at = dice.roll(other.len());
                other[at] ^= 1 << bit;
                let other = hex(&other);
                format!("UPDATE entry SET body = x'{other}' WHERE tenant = 1 AND seq = {seq}")
            }
        };
        let report = drill.after(&sql);
        let first = report.first_bad().unwrap_or_else(|| panic!("edit {number} passed as clean"));
        assert!(
            first.seq.is_some_and(|found| found <= seq && seq < found + 40),
            "edit {number} of {seq}: {first:?}"
        );
    }
}
