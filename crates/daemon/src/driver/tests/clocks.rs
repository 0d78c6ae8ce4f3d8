//! What the driver makes of clocks that move.

use super::*;

/// What entries say of the clock, each with its place.
fn clock_entries(journal: &Memory) -> Vec<(u64, String)> {
    let told = |entry: &Entry| {
        let record = eparch_governor::Record::from_bytes(&entry.body).unwrap();
        let what = match record.event {
            Event::Booted { clock_moved, .. } => {
                format!("boot {}", clock_moved.map_or(0, |moved| moved.by_ms))
            }
            Event::ClockJumped { by_ms } => format!("jump {by_ms}"),
            _ => return None,
        };
        Some((entry.seq, what))
    };
    journal.kept().entries.iter().filter_map(told).collect()
}

#[test]
fn g7_f17_a_clock_moved_while_nobody_held_the_home_is_decided_on_with_the_boot_and_never_before_it() {
    const HOUR: i64 = 3_600_000;
    let begun = Moment { ledger: LedgerTime::from_millis(1_000), wall: Timestamp::from_millis(100 * HOUR) };
    let clock = Arc::new(ManualClock::at(begun));
    let driven = drive_by(Memory::default(), clock.clone());
    driven.began();
    driven.agents();
    let mut journal = driven.end();
    let mut expected = vec![(1, "boot 0".to_owned())];
    for by_ms in [-HOUR, 2 * HOUR, -2_001, 2_001, -2_000, 2_000] {
        clock.jump_wall(by_ms);
        let driven = drive_by(journal, clock.clone());
        driven.began();
        // A holder that lives is told of it first, before whatever comes next.
        clock.jump_wall(by_ms);
        driven.handle.decide(Event::ClockTurned.into()).unwrap();
        let boot = driven.journal.kept().entries.len() as u64;
        journal = driven.end();
        if by_ms.abs() > 2_000 {
            expected.extend([(boot - 2, format!("boot {by_ms}")), (boot - 1, format!("jump {by_ms}"))]);
        } else {
            expected.push((boot - 1, "boot 0".to_owned()));
        }
    }
    assert_eq!(clock_entries(&journal), expected);
}

#[test]
fn a_clock_that_moves_while_a_commit_fails_is_no_reason_to_doubt_it() {
    let begun = Moment { ledger: LedgerTime::from_millis(1_000), wall: Timestamp::from_millis(360_000_000) };
    let clock = Arc::new(ManualClock::at(begun));
    let driven = drive_by(Memory::default(), clock.clone());
    driven.began();
    driven.journal.kept().fails_in = Some(0);
    clock.jump_wall(-3_600_000);
    driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    driven.began();
    // This process has measured the time all along.
    let found = clock_entries(&driven.end());
    let found: Vec<&str> = found.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!(found, ["boot 0", "boot 0", "jump -3600000"]);
}
