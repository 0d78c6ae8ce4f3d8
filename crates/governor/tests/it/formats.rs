//! What another version wrote is refused by its number, before anybody takes it for what it is not.

use std::error::Error as _;

use eparch_domain::{LedgerTime, Moment, Timestamp};
use eparch_governor::{
    Decision, Event, Governor, RECORD_FORMAT, Record, RecordError, RestoreError, Snapshot,
};
use serde_json::{Value, json};

fn record() -> Record {
    Record {
        v: RECORD_FORMAT,
        engine: "test".to_owned(),
        epoch: 1,
        at: Moment { ledger: LedgerTime::from_millis(1), wall: Timestamp::from_millis(2) },
        policy: None,
        event: Event::ClockTurned,
        decision: Decision::default(),
    }
}

fn with(bytes: &[u8], key: &str, value: Value) -> Vec<u8> {
    let mut json: Value = serde_json::from_slice(bytes).expect("a record is JSON");
    json[key] = value;
    serde_json::to_vec(&json).expect("JSON is written")
}

#[test]
fn a_record_of_another_format_is_refused_whether_it_could_be_read_or_not() {
    let bytes = record().to_bytes();
    assert_eq!(Record::from_bytes(&bytes).unwrap(), record());
    for found in [0, RECORD_FORMAT - 1, RECORD_FORMAT + 1] {
        let readable = with(&bytes, "v", found.into());
        let strange = with(&readable, "event", json!({ "type": "of another time" }));
        for bytes in [readable, strange] {
            let problem = Record::from_bytes(&bytes).unwrap_err();
            assert!(matches!(problem, RecordError::Format { found: v } if v == found), "{problem:?}");
            let said = format!("the record has format {found}; this build reads {RECORD_FORMAT}");
            assert_eq!(problem.to_string(), said);
        }
    }
    for bytes in [&b"{}"[..], b"", b"[]", &with(&bytes, "event", json!({ "type": "of no time" }))] {
        let problem = Record::from_bytes(bytes).unwrap_err();
        assert!(matches!(problem, RecordError::Unreadable(_)) && problem.source().is_some(), "{problem:?}");
    }
}

#[test]
fn a_snapshot_is_refused_by_its_format_before_its_state_is_looked_at() {
    let bytes = Governor::new().snapshot().to_bytes();
    assert!(Snapshot::from_bytes(&bytes).is_ok());
    let format = |bytes: &[u8]| match Snapshot::from_bytes(bytes).unwrap_err() {
        RestoreError::Format { found } => Some(found),
        _ => None,
    };
    for strange in [bytes.clone(), with(&bytes, "state", json!({ "everything": "else" }))] {
        assert_eq!(format(&with(&strange, "format", 1.into())), Some(1));
        assert_eq!(format(&with(&strange, "format", 99.into())), Some(99));
    }
    assert_eq!(format(&with(&bytes, "state", json!({ "everything": "else" }))), None);
    assert_eq!(format(b"neither"), None);
}

#[test]
fn r151_a_state_from_before_there_were_locks_is_one_in_which_nobody_has_any() {
    let bytes = Governor::new().snapshot().to_bytes();
    let mut json: Value = serde_json::from_slice(&bytes).expect("a snapshot is JSON");
    assert!(json["state"].as_object_mut().expect("a state has fields").remove("locks").is_some());
    let before = Snapshot::from_bytes(&serde_json::to_vec(&json).expect("JSON is written")).unwrap();
    let mut restored = Governor::new();
    restored.restore(before).unwrap();
    assert!(restored.agrees_with(&Governor::new()) && restored.locks().is_empty());
}

/// A home that was saved before there were stops and grants opens as one that has none.
#[test]
fn a_snapshot_without_emergencies_is_of_a_home_that_has_none() {
    let mut json: Value = serde_json::from_slice(&Governor::new().snapshot().to_bytes()).expect("it is JSON");
    let state = json["state"].as_object_mut().expect("state is an object");
    assert!(state.remove("emergencies").is_some());
    let bytes = serde_json::to_vec(&json).expect("JSON is written");
    let mut opened = Governor::new();
    opened.restore(Snapshot::from_bytes(&bytes).expect("it reads back")).expect("nothing is missing");
    assert!(opened.agrees_with(&Governor::new()) && opened.stopped().is_none());
}
