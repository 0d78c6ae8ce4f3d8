//! Views whose file could be opened only for reading, as SQLite does when the disk fails at the wrong moment.

use eparch_domain::{Moment, Timestamp};
use eparch_governor::{Event, Governor};
use rusqlite::OpenFlags;

use super::*;
use crate::{Append, Ledger, NewEntry, Settings};

fn entry(governor: &mut Governor, at: Moment) -> NewEntry {
    let event = Event::ClockTurned;
    let decision = governor.handle(&event, at);
    let engine = "0.1.0".to_owned();
    let record = Record { v: RECORD_FORMAT, engine, epoch: 1, at, policy: None, event, decision };
    NewEntry { body: record.to_bytes(), effects_due: 0, acknowledges: Vec::new(), documents: Vec::new() }
}

#[test]
fn r111_views_that_cannot_be_written_are_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&Settings::in_home(dir.path()), Timestamp::default(), "0.1.0").unwrap();
    let tenant = Name::new("acme").unwrap();
    let entries = vec![entry(&mut Governor::new(), Moment::default())];
    ledger.append(Append { tenant: tenant.clone(), after: 0, entries }).unwrap();
    let mut views = Views::open(&dir.path().join("views.db")).unwrap();
    views.connection = Connection::open_with_flags(&views.path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    assert_eq!(views.follow(&ledger.read(), &tenant).unwrap(), 1);
    assert_eq!(views.seq(&tenant).unwrap(), 1);
    assert_eq!(views.started_over(), None, "nothing was wrong with the file");
}
