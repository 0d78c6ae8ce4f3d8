//! What another version wrote is refused by its number, before anybody takes it for what it is not.

use std::error::Error as _;

use eparch_domain::{LedgerTime, Moment, Timestamp};
use eparch_governor::{
    Decision, Event, Fact, Governor, RECORD_FORMAT, Record, RecordError, RestoreError, Snapshot,
};
use serde_json::{Value, json};

use crate::home::Home;
use crate::scenario::set_up;
use crate::script;
use crate::words::words;

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

/// As an earlier version wrote it: the ends of gates, approvals and permits were ledger time alone.
fn by_ledger_time_alone(json: &mut Value) -> usize {
    let mut ends = 0;
    if let Some(fields) = json.as_object_mut() {
        for (field, beside) in [("deadline", "quorum"), ("until", "withdrawn"), ("expires", "permit")] {
            if fields.contains_key(beside)
                && let Some(end) = fields.get_mut(field).filter(|end| end.is_object())
            {
                *end = end["ledger_ms"].take();
                ends += 1;
            }
        }
    }
    let inner: Vec<&mut Value> = match json {
        Value::Array(values) => values.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    ends + inner.into_iter().map(by_ledger_time_alone).sum::<usize>()
}

/// F17: what was recorded and saved when ends were ledger time alone is read, and ends by that: a wall clock that nobody looked
/// at then takes nothing from it now.
#[test]
fn f17_an_end_from_before_it_told_the_wall_clock_comes_by_ledger_time_alone() {
    const HOUR: u64 = 3_600_000;
    let mut home = set_up(&[
        "pipeline main timeout=60h",
        "  agent a tier=T2 timeout=50h",
        "  gate ok approvers=bob timeout=2h",
    ]);
    let (mut ends, mut facts) = (0, Vec::new());
    let says = |home: &mut Home, line: &str, at: u64| {
        let events = script::events(home, &words(line));
        events.into_iter().flat_map(|event| home.decide(&event, at).facts).collect::<Vec<Fact>>()
    };
    for line in [
        "policies defaults",
        "start r1",
        "ready a#1 may=ansible_run:staging-*,read_file:docs",
        "asks a#1 ansible_run staging-1 key=k1",
        "asks a#1 ansible_run staging-2 key=k2",
        "approve question-1 by=bob",
        "asks a#1 read_file docs/x key=k3",
    ] {
        facts.extend(says(&mut home, line, 1_000));
    }
    for fact in &facts {
        let mut json = serde_json::to_value(fact).expect("a fact is JSON");
        ends += by_ledger_time_alone(&mut json);
        let old: Fact = serde_json::from_value(json.clone()).expect("it is read as it was written");
        assert_eq!(serde_json::to_value(&old).expect("a fact is JSON"), json, "and stays written so");
    }
    assert_eq!(ends, 4, "two questions, a gate and a permit");
    let mut saved: Value = serde_json::from_slice(&home.governor.snapshot().to_bytes()).expect("it is JSON");
    assert_eq!(by_ledger_time_alone(&mut saved), 4, "a question, an approval, a gate and a permit");
    let saved = serde_json::to_vec(&saved).expect("JSON is written");
    home.governor.restore(Snapshot::from_bytes(&saved).expect("it reads back")).expect("nothing is missing");
    // Three days were slept through, for all that the wall clock says.
    let jumped = says(&mut home, "jump 259200000", 2_000);
    assert!(
        !jumped.iter().any(|fact| matches!(fact, Fact::GateClosed { .. } | Fact::EndsSooner)),
        "{jumped:?}"
    );
    let used = says(&mut home, "uses a#1 permit-1", 60_999);
    assert!(used.iter().any(|fact| matches!(fact, Fact::PermitSpent { .. })), "{used:?}");
    let over = says(&mut home, "tick", 1_000 + 2 * HOUR);
    assert!(over.iter().any(|fact| matches!(fact, Fact::GateClosed { .. })), "{over:?}");
}
