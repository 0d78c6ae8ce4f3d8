//! How a holder is, and what is enforced.

use eparch_domain::{BreakerState, Digest};
use serde::{Deserialize, Serialize};

use super::{BreakGlassShown, StoppedShown};

/// Whether the holder is well. Whoever asks is told states and counts; an operator, who shows a key, also the details.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether decisions can be made.
    pub ok: bool,
    /// The holder's process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Its epoch.
    pub epoch: u64,
    /// The ledger's last entry.
    pub seq: u64,
    /// Runs alive.
    pub live_runs: usize,
    /// Whether everything is stopped: nothing has authority until an admin lifts it.
    #[serde(default)]
    pub all_stopped: bool,
    /// How many grants of two people let something pass now although policy denies it.
    #[serde(default)]
    pub break_glass_open: usize,
    /// How many folders for signed checkpoints do not have what they should.
    #[serde(default)]
    pub witnesses_behind: usize,
    /// Where it serves over TCP, if it does.
    #[serde(default)]
    pub url: Option<String>,
    /// What decisions and agents need, each for itself. One that is not well stops what needs it, and nothing else.
    #[serde(default)]
    pub components: Vec<Component>,
    /// What is enforced, rather than loaded.
    #[serde(default)]
    pub enforced: Enforced,
    /// For operators alone.
    #[serde(flatten)]
    pub details: Option<ReadyDetails>,
}

impl Ready {
    /// What anybody may know of it: no people, reasons, targets, names of policies or of grants, places or causes.
    #[must_use]
    pub fn for_anybody(mut self) -> Ready {
        self.details = None;
        self.components.iter_mut().for_each(|component| component.detail.clear());
        self.enforced.confinement.iter_mut().flatten().for_each(|measure| measure.detail.clear());
        self.enforced.shadowed = None;
        self.enforced.watched.clear();
        self
    }
}

/// What only an operator is told of the holder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadyDetails {
    /// Why the ledger cannot be written, if it cannot.
    pub ledger_failure: Option<String>,
    /// Folders for signed checkpoints that cannot be written to, and why. Never left out: it tells these details from none.
    pub anchors_behind: Vec<String>,
    /// What else was met that is worth knowing and stops nothing.
    #[serde(default)]
    pub notices: Vec<String>,
    /// The digest of the settings it works with: those there were when it began.
    #[serde(default)]
    pub settings: Option<Digest>,
    /// Who stopped everything, when and why, until an admin lifts it: nothing has authority meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StoppedShown>,
    /// What two people let pass now although policy denies it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<BreakGlassShown>,
}

/// Something that decisions or agents need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// What it is.
    pub name: String,
    /// Whether it can be relied on.
    pub healthy: bool,
    /// What was seen; only for operators.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How the breaker before it stands, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerState>,
    /// How many tokens are over here and were not ended there yet (EP0918).
    #[serde(default, skip_serializing_if = "is_none")]
    pub owed: usize,
}

/// What is enforced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Enforced {
    /// The policies in force, by their digest; without any nothing is allowed.
    pub policies: Option<Digest>,
    /// How many of them decide.
    pub deciding: usize,
    /// How many only record what they would have decided.
    #[serde(default)]
    pub watching: usize,
    /// Their names; only for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadowed: Option<Vec<String>>,
    /// How often these spoke since this holder began, and what was decided meanwhile; only for operators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<WatchedShown>,
    /// What confines agents here; nothing where it was not tried yet.
    pub confinement: Option<Vec<Confinement>>,
}

/// How often a watched policy said something beside a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedShown {
    /// The policy.
    pub policy: String,
    /// What it would have said.
    pub would: String,
    /// What was decided.
    pub decided: String,
    /// How often.
    pub times: u64,
}

/// A measure that confines agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Which.
    pub measure: String,
    /// Whether it holds.
    pub in_force: bool,
    /// By what, or why not; only for operators.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use eparch_domain::{Name, Timestamp};
    use serde_json::{Value, json};

    use super::*;

    fn full() -> Ready {
        let text = || "secret".to_owned();
        let stopped =
            StoppedShown { by: Name::new("secret").unwrap(), at: Timestamp::default(), reason: text() };
        let vault = Component {
            name: "vault".to_owned(),
            healthy: false,
            detail: text(),
            breaker: Some(BreakerState::Open),
            owed: 2,
        };
        let watched =
            WatchedShown { policy: text(), would: "deny".to_owned(), decided: "allow".to_owned(), times: 1 };
        let measure = Confinement { measure: "seccomp".to_owned(), in_force: true, detail: text() };
        Ready {
            ok: true,
            pid: 1,
            version: "1".to_owned(),
            epoch: 1,
            seq: 1,
            live_runs: 1,
            all_stopped: true,
            break_glass_open: 1,
            witnesses_behind: 1,
            url: None,
            components: vec![vault],
            enforced: Enforced {
                policies: Some(Digest::of(b"policies")),
                deciding: 1,
                watching: 1,
                shadowed: Some(vec![text()]),
                watched: vec![watched],
                confinement: Some(vec![measure]),
            },
            details: Some(ReadyDetails {
                ledger_failure: Some(text()),
                anchors_behind: vec![text()],
                notices: vec![text()],
                settings: Some(Digest::of(b"settings")),
                stopped: Some(stopped),
                break_glass: Vec::new(),
            }),
        }
    }

    fn keys(value: &Value) -> String {
        let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys.join(" ")
    }

    /// Whatever is added for everybody has to be added here as well, by somebody who has thought of strangers.
    #[test]
    fn what_anybody_is_told_are_states_and_counts() {
        let said = serde_json::to_value(full().for_anybody()).unwrap();
        assert!(!said.to_string().contains("secret"), "{said}");
        assert_eq!(
            keys(&said),
            "all_stopped break_glass_open components enforced epoch live_runs ok pid seq url version witnesses_behind"
        );
        assert_eq!(keys(&said["components"][0]), "breaker healthy name owed");
        assert_eq!(keys(&said["enforced"]), "confinement deciding policies watching");
        assert_eq!(said["enforced"]["confinement"], json!([{ "measure": "seccomp", "in_force": true }]));
    }

    #[test]
    fn what_was_said_is_read_as_it_was_meant_with_details_and_without() {
        for ready in [full(), full().for_anybody()] {
            let read: Ready = serde_json::from_str(&serde_json::to_string(&ready).unwrap()).unwrap();
            assert_eq!(read, ready);
        }
    }
}
