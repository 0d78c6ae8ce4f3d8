//! Permits: leave to do one thing, once. What an agent asked for is remembered by its key, and what it may still do by its
//! permits; both are bounded, and go with the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eparch_domain::{Action, AgentId, Digest, GateId, Moment, Name, PermitId, limits};
use eparch_policy::Decision as Says;
use serde::{Deserialize, Serialize};

use crate::fact::Ruled;
use crate::until::Until;

/// Why a permit that was shown is no good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum PermitFault {
    /// The agent never had it, or it is long over.
    Unknown,
    /// It is another agent's.
    OfAnother,
    /// It was used.
    Spent,
    /// Its time is over.
    Expired,
    /// It is for other arguments.
    OtherArguments,
    /// The policies have changed since.
    OtherPolicies,
    /// What it is for is not allowed any more, for this reason.
    Void {
        /// The reason's code.
        reason: String,
    },
}

impl PermitFault {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            PermitFault::Unknown => "EP0614",
            PermitFault::OfAnother => "EP0615",
            PermitFault::Spent => "EP0616",
            PermitFault::Expired => "EP0617",
            PermitFault::OtherArguments => "EP0618",
            PermitFault::OtherPolicies => "EP0619",
            PermitFault::Void { .. } => "EP0620",
        }
    }

    /// The reason in the record.
    pub(crate) fn reason(&self) -> &str {
        match self {
            PermitFault::Unknown => "unknown_permit",
            PermitFault::OfAnother => "permit_of_another",
            PermitFault::Spent => "permit_spent",
            PermitFault::Expired => "permit_expired",
            PermitFault::OtherArguments => "other_arguments",
            PermitFault::OtherPolicies => "other_policies",
            PermitFault::Void { reason } => reason,
        }
    }

    pub(crate) fn hint(&self) -> &'static str {
        match self {
            PermitFault::Unknown => "use the permit that was answered, soon after it was",
            PermitFault::OfAnother => "ask for one of your own",
            PermitFault::Spent => "a permit is used once: ask again, with a new key",
            PermitFault::Expired => "ask again, with a new key, when you are about to do it",
            PermitFault::OtherArguments => "do what was asked for, or ask for what is to be done",
            PermitFault::OtherPolicies | PermitFault::Void { .. } => {
                "ask again, with a new key: the answer says why"
            }
        }
    }
}

impl std::fmt::Display for PermitFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PermitFault::Unknown => f.write_str("is not a permit of this agent"),
            PermitFault::OfAnother => f.write_str("is another agent's permit"),
            PermitFault::Spent => f.write_str("has been used"),
            PermitFault::Expired => f.write_str("has expired"),
            PermitFault::OtherArguments => f.write_str("is for other arguments"),
            PermitFault::OtherPolicies => f.write_str("was given under other policies"),
            PermitFault::Void { reason } => {
                write!(f, "is void: what it is for is not allowed now ({reason})")
            }
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stands {
    /// It was answered, and there is nothing to use.
    Answered,
    /// Its permit waits to be used.
    Open,
    /// It is being done.
    Doing,
    /// It is being performed for the agent, outside its own cage.
    Performing,
    /// It was done, or can be done no more.
    Over,
    /// People are asked, or have approved it and the agent has not come back for it.
    Waiting,
}

/// One request of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Which it was, of all it asked.
    place: u64,
    pub(crate) ruled: Arc<Ruled>,
    pub(crate) stands: Stands,
    /// What using its permit added to what the run has done: it is not held against itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) noted: Vec<String>,
    /// Somebody who approved it may act no longer.
    #[serde(default)]
    pub(crate) withdrawn: bool,
}

impl Asked {
    /// Whether something may still be done under it: a permit that was never used is over with its time.
    fn is_open(&self, now: Moment) -> bool {
        match self.stands {
            Stands::Doing | Stands::Performing => true,
            Stands::Open => self.ruled.permit.is_some_and(|given| !given.expires.is_over(now)),
            Stands::Answered | Stands::Over | Stands::Waiting => false,
        }
    }

    /// Whether it was let be done because they, with others or alone, said yes.
    fn rests_on(&self, name: &Name) -> bool {
        self.ruled.approvals > 0 && self.ruled.decided_by.contains(name)
    }

    /// Whether its answer may be forgotten: nothing comes of it any more.
    fn is_over(&self, now: Moment) -> bool {
        !self.is_open(now) && self.stands != Stands::Waiting
    }
}

/// What an agent asked for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "Read")]
pub(crate) struct Actions {
    /// In the order in which it was asked, by number. Shared with the snapshot that is being written: an agent is copied when it next
    /// does something, and what it asked for is not.
    asked: BTreeMap<u64, Arc<Asked>>,
    count: u64,
    /// How often it asked for what is denied, by action and target.
    denied: BTreeMap<String, u32>,
    by_key: BTreeMap<String, u64>,
    by_permit: BTreeMap<PermitId, u64>,
    /// Those whose permit may be used, unless its time is over, or is being used.
    in_use: BTreeSet<u64>,
}

/// As it is written.
#[derive(Serialize)]
struct Written<'a> {
    asked: Vec<&'a Asked>,
    count: u64,
    denied: &'a BTreeMap<String, u32>,
}

/// As it is read.
#[derive(Deserialize)]
struct Read {
    asked: Vec<Asked>,
    count: u64,
    denied: BTreeMap<String, u32>,
}

impl Serialize for Actions {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Actions { asked, count, denied, .. } = self;
        Written { asked: asked.values().map(|asked| &**asked).collect(), count: *count, denied }
            .serialize(serializer)
    }
}

impl From<Read> for Actions {
    fn from(Read { asked, count, denied }: Read) -> Actions {
        let mut actions = Actions { count, denied, ..Actions::default() };
        asked.into_iter().for_each(|asked| actions.add(asked));
        actions
    }
}

impl Actions {
    /// What was asked with a key.
    pub(crate) fn asked(&self, key: &str) -> Option<&Asked> {
        self.by_key.get(key).and_then(|place| self.at(*place))
    }

    fn at(&self, place: u64) -> Option<&Asked> {
        self.asked.get(&place).map(|asked| &**asked)
    }

    fn add(&mut self, asked: Asked) {
        let place = asked.place;
        if let Some(before) = self.by_key.insert(asked.ruled.key.clone(), place) {
            self.forget(before);
        }
        if let Some(given) = asked.ruled.permit {
            self.by_permit.insert(given.permit, place);
        }
        self.note_use(place, asked.stands);
        self.asked.insert(place, Arc::new(asked));
    }

    /// Its key may be another one's by now.
    fn forget(&mut self, place: u64) {
        let Some(asked) = self.asked.remove(&place) else { return };
        if self.by_key.get(&asked.ruled.key) == Some(&place) {
            self.by_key.remove(&asked.ruled.key);
        }
        if let Some(given) = asked.ruled.permit {
            self.by_permit.remove(&given.permit);
        }
        self.in_use.remove(&place);
    }

    fn note_use(&mut self, place: u64, stands: Stands) {
        match stands {
            Stands::Open | Stands::Doing | Stands::Performing => self.in_use.insert(place),
            Stands::Answered | Stands::Over | Stands::Waiting => self.in_use.remove(&place),
        };
    }

    /// How many requests were answered.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The request that a permit came of.
    pub(crate) fn permitted(&self, permit: PermitId) -> Option<&Asked> {
        self.by_permit.get(&permit).and_then(|place| self.at(*place))
    }

    /// How many requests wait for people, or for the agent to come back.
    pub(crate) fn waiting(&self) -> usize {
        self.asked.values().filter(|asked| asked.stands == Stands::Waiting).count()
    }

    /// The request that waits at a gate, or whose approval waits for the agent.
    pub(crate) fn asked_at(&self, gate: GateId) -> Option<&Ruled> {
        let mut waiting = self.asked.values().filter(|asked| asked.stands == Stands::Waiting);
        waiting.find(|asked| asked.ruled.gate == Some(gate)).map(|asked| &*asked.ruled)
    }

    fn in_use(&self) -> impl Iterator<Item = &Asked> {
        self.in_use.iter().filter_map(|place| self.at(*place))
    }

    /// How many permits may be used or are being used.
    pub(crate) fn open(&self, now: Moment) -> usize {
        self.in_use().filter(|asked| asked.is_open(now)).count()
    }

    /// When the permits that wait to be used are over.
    pub(crate) fn ends(&self) -> impl Iterator<Item = Until> + '_ {
        let open = self.in_use().filter(|asked| asked.stands == Stands::Open);
        open.filter_map(|asked| asked.ruled.permit).map(|given| given.expires)
    }

    /// The same, to be changed.
    pub(crate) fn ends_mut(&mut self) -> impl Iterator<Item = &mut Until> + '_ {
        let open = self.asked.values_mut().filter(|asked| asked.stands == Stands::Open);
        let ruled = open.map(|asked| Arc::make_mut(&mut Arc::make_mut(asked).ruled));
        ruled.filter_map(|ruled| ruled.permit.as_mut()).map(|given| &mut given.expires)
    }

    /// How often the same was denied before.
    pub(crate) fn denied(&self, action: Action, target: &str) -> u32 {
        self.denied.get(self.counted_as(action, target).as_str()).copied().unwrap_or_default()
    }

    /// What is too much to be counted apart is counted together: asking for ever new things is no way around it.
    fn counted_as(&self, action: Action, target: &str) -> String {
        let own = format!("{action} {target}");
        match self.denied.contains_key(&own) || self.denied.len() < limits::DENIED_KINDS {
            true => own,
            false => String::new(),
        }
    }

    pub(crate) fn remember(&mut self, ruled: &Arc<Ruled>, counts_against_it: bool, now: Moment) {
        if counts_against_it {
            let counted_as = self.counted_as(ruled.action, &ruled.target);
            let times = self.denied.entry(counted_as).or_default();
            *times = times.saturating_add(1);
        }
        let stands = match (ruled.permit, ruled.gate) {
            (Some(_), _) => Stands::Open,
            (None, Some(_)) if ruled.verdict.decision == Says::Ask => Stands::Waiting,
            _ => Stands::Answered,
        };
        self.count += 1;
        self.add(Asked {
            place: self.count,
            ruled: Arc::clone(ruled),
            stands,
            noted: Vec::new(),
            withdrawn: false,
        });
        if self.asked.len() > limits::ACTIONS_REMEMBERED {
            // Fewer are open than are remembered, so it is never the last that was answered.
            const _: () = assert!(
                limits::OPEN_PERMITS + limits::OPEN_QUESTIONS < limits::ACTIONS_REMEMBERED,
                "some of what is remembered is over"
            );
            let oldest = self.asked.iter().find(|(_, asked)| asked.is_over(now)).map(|(place, _)| *place);
            if let Some(oldest) = oldest {
                self.forget(oldest);
            }
        }
    }

    /// Whether something that was let be done was approved by them.
    pub(crate) fn rest_on(&self, name: &Name) -> bool {
        self.asked.values().any(|asked| asked.rests_on(name))
    }

    /// Somebody may act no longer: what they approved is good for nothing.
    pub(crate) fn withdraw(&mut self, name: &Name) {
        for asked in self.asked.values_mut().filter(|asked| asked.rests_on(name)) {
            Arc::make_mut(asked).withdrawn = true;
        }
    }

    fn of_permit(&mut self, permit: PermitId) -> Option<&mut Asked> {
        let place = self.by_permit.get(&permit)?;
        self.asked.get_mut(place).map(Arc::make_mut)
    }

    /// What using a permit added to what the run has done.
    pub(crate) fn set_noted(&mut self, permit: PermitId, noted: Vec<String>) {
        if let Some(asked) = self.of_permit(permit) {
            asked.noted = noted;
        }
    }

    pub(crate) fn set(&mut self, permit: PermitId, stands: Stands) {
        let Some(asked) = self.of_permit(permit) else { return };
        asked.stands = stands;
        let place = asked.place;
        self.note_use(place, stands);
    }
}

/// The permit for an agent's request after so many: the same one on every replay. Its key does not tell it from every other:
/// one that was forgotten may come again.
pub(crate) fn permit_id(agent: AgentId, asked_before: u64) -> PermitId {
    let parts: [&[u8]; 3] = [b"permit", &agent.bits().to_be_bytes(), &asked_before.to_be_bytes()];
    PermitId::derived(&Digest::of_parts(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_counted_apart_as_long_as_there_is_room() {
        let kind = |number: usize| (format!("read_file docs/{number}"), 1);
        let mut actions =
            Actions { denied: (1..limits::DENIED_KINDS).map(kind).collect(), ..Actions::default() };
        let counted_as = |actions: &Actions, target: &str| actions.counted_as(Action::ReadFile, target);
        assert_eq!(counted_as(&actions, "docs/0"), "read_file docs/0");
        actions.denied.extend([kind(0)]);
        assert_eq!(actions.denied.len(), limits::DENIED_KINDS);
        assert_eq!(counted_as(&actions, "docs/new"), "");
        assert_eq!(counted_as(&actions, "docs/7"), "read_file docs/7", "what is counted apart stays so");
    }

    #[test]
    fn whoever_shows_a_permit_that_is_no_good_is_told_what_to_do() {
        let void = PermitFault::Void { reason: "people_said_no".to_owned() };
        for (fault, hint) in [
            (PermitFault::Unknown, "soon"),
            (PermitFault::OfAnother, "your own"),
            (PermitFault::Spent, "ask again"),
            (PermitFault::Expired, "ask again"),
            (PermitFault::OtherArguments, "what was asked for"),
            (PermitFault::OtherPolicies, "the answer says why"),
            (void, "the answer says why"),
        ] {
            assert!(fault.hint().contains(hint), "{fault:?}: {}", fault.hint());
        }
    }
}
