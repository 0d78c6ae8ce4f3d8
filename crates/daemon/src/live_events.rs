//! Live events: every fact, as it becomes durable, and every captured line, to whoever watches.

use eparch_domain::Timestamp;
use eparch_governor::{AgentSpec, AttemptEnd, Fact};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use crate::agents::capture::LogLine;
use crate::driver::Done;

/// Events kept for a watcher that is slow; one that is slower catches up from the ledger.
pub(crate) const BACKLOG: usize = 4_096;

/// An empty line after so long finds out that a reader has gone whose end was not noticed.
pub(crate) const ALIVE: std::time::Duration = std::time::Duration::from_secs(15);

/// The kind of the last line of a stream that its holder ends; `data.reason` says why. The holder goes on.
pub const END: &str = "end";

/// One event, as `/ws` and `/api/events` send it (interface.md 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveEvent {
    /// The entry it comes from; of a log line, the last entry before it.
    pub seq: u64,
    /// When.
    pub ts: Timestamp,
    /// What kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// What exactly.
    #[serde(serialize_with = "eparch_domain::in_order")]
    pub data: Value,
}

impl LiveEvent {
    /// The last line of a stream.
    pub(crate) fn end(why: Value) -> LiveEvent {
        LiveEvent { seq: 0, ts: Timestamp::default(), kind: END.to_owned(), data: why }
    }

    /// The last line of a stream that ends because the ledger cannot be written: whoever reads it asks again, and is told
    /// how the ledger is.
    pub(crate) fn ledger(why: &str) -> LiveEvent {
        LiveEvent::end(json!({ "reason": "ledger", "detail": why }))
    }
}

/// Where events are told.
#[derive(Debug, Clone)]
pub struct Broadcast {
    to: broadcast::Sender<LiveEvent>,
}

impl Default for Broadcast {
    fn default() -> Self {
        Broadcast { to: broadcast::channel(BACKLOG).0 }
    }
}

impl Broadcast {
    /// Watches from now on.
    pub fn watch(&self) -> broadcast::Receiver<LiveEvent> {
        self.to.subscribe()
    }

    /// Tells what one durable decision found.
    pub(crate) fn committed(&self, done: &Done) {
        if self.to.receiver_count() > 0 {
            for event in events_of(done) {
                // Nobody listening is fine.
                let _ = self.to.send(event);
            }
        }
    }

    /// Ends every stream, since the ledger cannot be written.
    pub(crate) fn stopped(&self, why: &str) {
        let _ = self.to.send(LiveEvent::ledger(why));
    }

    /// Tells a captured line.
    pub(crate) fn log(&self, spec: &AgentSpec, line: &LogLine) {
        if self.to.receiver_count() > 0 {
            let data = json!({
                "pipeline_id": spec.run, "agent_id": spec.agent, "stage": spec.name, "attempt": spec.attempt,
                "stream": line.stream, "line": line.line,
            });
            let _ = self.to.send(LiveEvent { seq: 0, ts: line.ts, kind: "log".to_owned(), data });
        }
    }
}

/// The next event that is told, for as long as somebody takes what is sent to `reader`; `None` when nobody does any more.
pub(crate) async fn next_for<T>(
    reader: &mpsc::Sender<T>,
    watch: &mut broadcast::Receiver<LiveEvent>,
) -> Option<Result<LiveEvent, RecvError>> {
    tokio::select! {
        // However much is told: nobody would be told of it.
        biased;
        () = reader.closed() => None,
        event = watch.recv() => Some(event),
    }
}

/// The events of one decision: one for each fact, and the seeds' own word after it where there is one. Who had which secret
/// is for those who may see what secrets there are, and not for everybody who watches.
pub(crate) fn events_of(done: &Done) -> Vec<LiveEvent> {
    let wall = done.record.at.wall;
    let told = done.record.decision.facts.iter().filter(|fact| !matches!(fact, Fact::SecretGranted { .. }));
    told.flat_map(|fact| {
        let announced = announced(done.seq, wall, fact);
        std::iter::once(of_fact(done.seq, wall, fact)).chain(announced)
    })
    .collect()
}

/// The seeds' own word for a fact, where it is another (R095, R098): what listens for it need not know the facts. It is told
/// with what the record says, so after it is durable; an agent's authority was gone before.
fn announced(seq: u64, ts: Timestamp, fact: &Fact) -> Option<LiveEvent> {
    let (kind, data) = match fact {
        Fact::ViolationFound { agent, violation, detail } => (
            "violation_detected",
            json!({
                "agent_id": agent, "violation": violation, "severity": violation.severity(), "detail": detail,
            }),
        ),
        Fact::AttemptEnded { agent, end: AttemptEnd::Revoked { reason } } => {
            ("agent_revoked", json!({ "agent_id": agent, "reason": reason }))
        }
        Fact::AttemptEnded { agent, end: end @ AttemptEnd::Stalled { .. } } => {
            ("agent_revoked", json!({ "agent_id": agent, "reason": end.reason() }))
        }
        // As often as one is recorded of an agent, which is limited (R100).
        Fact::HeartbeatSeen { agent } => ("heartbeat", json!({ "agent_id": agent })),
        // Whoever listens for alerts hears of these as well.
        Fact::AlarmRaised { alert, severity, alarm } => {
            ("alert_raised", json!({ "alert": alert, "severity": severity, "alarm": alarm }))
        }
        _ => return None,
    };
    Some(LiveEvent { seq, ts, kind: kind.to_owned(), data })
}

fn of_fact(seq: u64, ts: Timestamp, fact: &Fact) -> LiveEvent {
    let mut data = serde_json::to_value(fact).unwrap_or_default();
    let kind = data.get("type").and_then(Value::as_str).unwrap_or("fact").to_owned();
    if let Some(fields) = data.as_object_mut() {
        fields.remove("type");
        if let Some(run) = fields.get("run").cloned() {
            fields.insert("pipeline_id".to_owned(), run);
        }
        if let Some(parent) = fields.get("parent").and_then(|parent| parent.get("run")).cloned() {
            fields.insert("parent_id".to_owned(), parent);
        }
        if let Some(agent) = fields.get("agent").cloned() {
            fields.insert("agent_id".to_owned(), agent);
        }
    }
    LiveEvent { seq, ts, kind, data }
}

#[cfg(test)]
mod tests {
    use eparch_domain::{AgentId, ViolationType};

    use super::*;

    #[test]
    fn r095_r098_violations_and_revocations_are_announced_in_the_seeds_words() {
        let (agent, ts) = (AgentId::from_bits(1), Timestamp::default());
        let violation = ViolationType::ForbiddenTarget;
        let found = Fact::ViolationFound { agent, violation, detail: "prod-1".to_owned() };
        let event = announced(7, ts, &found).unwrap();
        assert_eq!((event.seq, event.kind.as_str()), (7, "violation_detected"));
        assert_eq!(event.data["violation"], "FORBIDDEN_TARGET");
        assert_eq!(event.data["severity"], "HIGH");
        let end = AttemptEnd::Revoked { reason: "enough".to_owned() };
        let event = announced(8, ts, &Fact::AttemptEnded { agent, end }).unwrap();
        assert_eq!((event.kind.as_str(), event.data["reason"].as_str()), ("agent_revoked", Some("enough")));
        let end = AttemptEnd::Stalled { allowed: eparch_domain::Span::from_mins(2) };
        let event = announced(8, ts, &Fact::AttemptEnded { agent, end }).unwrap();
        assert_eq!(event.kind, "agent_revoked");
        assert!(event.data["reason"].as_str().unwrap().ends_with("no progress for 2m, its idle timeout"));
        assert_eq!(announced(9, ts, &Fact::AttemptEnded { agent, end: AttemptEnd::Completed }), None);
    }

    #[test]
    fn r100_a_heartbeat_is_announced_and_a_missed_one_is_told_as_what_it_is() {
        let (agent, ts) = (AgentId::from_bits(1), Timestamp::default());
        let event = announced(7, ts, &Fact::HeartbeatSeen { agent }).unwrap();
        assert_eq!((event.kind.as_str(), &event.data), ("heartbeat", &json!({ "agent_id": agent })));
        let severity = eparch_domain::Severity::Medium;
        let missed = Fact::HeartbeatsMissed { agent, last: eparch_domain::LedgerTime::default(), severity };
        assert_eq!(announced(7, ts, &missed), None);
        let told = of_fact(7, ts, &missed);
        assert_eq!((told.kind.as_str(), &told.data["severity"]), ("heartbeats_missed", &json!("MEDIUM")));
    }
}
