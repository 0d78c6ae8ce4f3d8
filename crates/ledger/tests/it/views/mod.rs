//! Views: what people see follows from the journal, from wherever the views were.

mod audit;
mod rebuilt;
mod shown;
mod story;
mod watched;

use std::collections::BTreeMap;

use eparch_domain::{Phase, Span, Tier};
use eparch_governor::{Event, GateDecision, OperatorRole, Outcome, SecretAccess, SecretOutcome, Signal};
use eparch_ledger::views::{ActionFilter, StageView};
use rusqlite::types::Value;

use story::{Story, opened, operator, out_of_order, without_evidence};

use crate::home::name;

/// Everything there is.
const ALL: ActionFilter = ActionFilter {
    run: None,
    agent: None,
    action: None,
    decision: None,
    since: None,
    before: None,
    limit: 100_000,
};

fn stage<'d>(stages: &'d [StageView], name: &str) -> &'d StageView {
    stages.iter().find(|stage| stage.name.as_str() == name).unwrap()
}

/// Every row of every table.
fn dump(story: &Story) -> BTreeMap<String, Vec<Vec<Value>>> {
    let connection = rusqlite::Connection::open(story.views_path()).unwrap();
    let query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'templates_fts%'";
    let mut tables = connection.prepare(query).unwrap();
    let tables = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let tables = tables.map(|table| {
        let table = table.unwrap();
        let mut rows = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let width = rows.column_count();
        let rows = rows.query_map([], |row| (0..width).map(|at| row.get::<_, Value>(at)).collect()).unwrap();
        let mut rows: Vec<Vec<Value>> = rows.collect::<Result<_, _>>().unwrap();
        rows.sort_by_key(|row| format!("{row:?}"));
        (table, rows)
    });
    tables.collect()
}

/// Runs that end every way an attempt and a gate can end.
fn eventful() -> Story {
    let mut story = Story::new();
    story.whole_run(1);
    // A retry after a failure, then a denial at the gate.
    let (_, record) = story.ask_for_run(2, "ann", "production");
    let first = Story::prepared(&record)["plan"];
    story.release(first);
    story.finish(first, 7);
    story.wait(Span::from_mins(1));
    let record = story.tell(Event::ClockTurned);
    let record = story.live(Story::prepared(&record)["plan"]);
    story.answer(opened(&record), "lead", GateDecision::Deny);
    // Somebody who may not, somebody who asked, and an approval used twice.
    story.ask_for_run(3, "eve", "staging");
    let (_, record) = story.ask_for_run(4, "ann", "production");
    let record = story.live(Story::prepared(&record)["plan"]);
    let gate = opened(&record);
    story.answer(gate, "ann", GateDecision::Approve);
    let record = story.answer(gate, "lead", GateDecision::Approve);
    story.answer(gate, "lead", GateDecision::Approve);
    // A report out of order, which counts for nothing, and one without evidence, which is a violation.
    let agents = Story::prepared(&record);
    story.release(agents["lint"]);
    story.advance(agents["lint"], out_of_order());
    story.advance(agents["lint"], without_evidence());
    story.tell(Event::TreeProvenDead { agent: agents["lint"], killed: true });
    story.signal(agents["lint"], Signal::Heartbeat);
    // The holder dies while the other one works.
    story.release(agents["tests"]);
    story.signal(agents["tests"], Signal::Output { name: "done".into(), value: 3.into() });
    story.boot();
    let record = story.tell(Event::TreeProvenDead { agent: agents["tests"], killed: true });
    let again = Story::prepared(&record)["tests"];
    story.release(again);
    for _ in 0..9 {
        story.signal(again, Signal::Error { code: "E_SAME".into() });
    }
    let killed =
        |in_phase| Outcome::Failed { in_phase, code: "EP0229".into(), reason: "it was killed".into() };
    story.advance(again, vec![killed(Phase::Execute)]);
    story.tell(Event::TreeProvenDead { agent: again, killed: true });
    // Nobody answers in time, somebody stops a run, keys change.
    let (_, record) = story.ask_for_run(5, "ann", "staging");
    story.live(Story::prepared(&record)["plan"]);
    story.wait(Span::from_hours(1));
    story.tell(Event::ClockTurned);
    let (run, record) = story.ask_for_run(6, "ann", "staging");
    story.tell(Event::StopRequested { run, by: name("eve"), reason: String::new() });
    story.tell(Event::StopRequested { run, by: name("ann"), reason: "a mistake".into() });
    story.advance(Story::prepared(&record)["plan"], vec![killed(Phase::Bootstrap)]);
    story.tell(Event::ClockJumped { by_ms: -5_000 });
    let key = operator("other", OperatorRole::Admin).key;
    story.tell(Event::OperatorRotated { by: name("ann"), name: name("lead"), key });
    story.tell(Event::OperatorRemoved { by: name("ann"), name: name("eve") });
    story.tell(Event::OperatorRemoved { by: name("ann"), name: name("ann") });
    let access = SecretAccess::Read { version: None };
    for (who, outcome) in [
        ("lead", None),
        ("ann", Some(SecretOutcome::Read { version: 3 })),
        ("ann", Some(SecretOutcome::Failed { code: "EP0903".into() })),
    ] {
        let (by, path) = (name(who), "production/database".to_owned());
        story.tell(Event::SecretAsked { by: by.clone(), path: path.clone(), tier: Tier::T0, access });
        if let Some(outcome) = outcome {
            story.tell(Event::SecretServed { asked: story.head(), by, path, outcome });
        }
    }
    story
}
