//! The tokens of a vault that stand behind leases: the run's own and its agents'. The governor knows what they are called,
//! never the tokens; who asks for them and hands them on is the shell. What is to end is asked for until it is known to have
//! ended, over restarts, too; here its authority is over at once.

use std::ops::Bound;

use eparch_domain::{AgentId, LeaseId, LedgerTime, RunId, Span, limits};
use serde::{Deserialize, Serialize};

use crate::decision::Refusal;
use crate::effect::Effect;
use crate::fact::Fact;
use crate::governor::{Governor, Turn};
use crate::until::is_over;

/// A token of a vault, by what it is called there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// What it is called.
    pub accessor: String,
    /// The run it was issued for.
    pub run: RunId,
    /// The agent, unless it is the run's own.
    pub agent: Option<AgentId>,
    /// Which vault issued it, where that is known: only there can it be ended. The home may have another one by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// What came of what was asked of a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CredentialOutcome {
    /// It was renewed, and has so long.
    Renewed {
        /// What it has left.
        ttl: Span,
    },
    /// It is over, as was asked for.
    Ended,
    /// It was to be renewed, and is over: the vault has ended it, or forgotten it.
    Over {
        /// The stable code of the reason.
        code: String,
    },
}

/// A credential that is good for something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) run: RunId,
    pub(crate) lease: LeaseId,
    /// The agent, and which of its tokens this stands behind.
    pub(crate) agent: Option<(AgentId, u32)>,
    /// Which vault issued it.
    #[serde(default)]
    pub(crate) at: Option<String>,
}

impl Known {
    /// It, by what it is called.
    fn called(&self, accessor: &str) -> Credential {
        let (accessor, agent) = (accessor.to_owned(), self.agent.map(|of| of.0));
        Credential { accessor, run: self.run, agent, at: self.at.clone() }
    }
}

impl Governor {
    /// What the credential of a run's lease is called, or that of an agent's token.
    pub fn credential(&self, run: RunId, agent: Option<AgentId>) -> Option<&str> {
        let known = self.state.leases.credentials.iter();
        let mut wanted = known.filter(|(_, known)| known.run == run && known.agent.map(|of| of.0) == agent);
        wanted.next().map(|(accessor, _)| accessor.as_str())
    }

    /// How many credentials are to end and are not known to have.
    pub fn credentials_to_end(&self) -> usize {
        self.state.leases.to_end.len()
    }

    /// Those of a run.
    pub fn to_end_of(&self, run: RunId) -> impl Iterator<Item = &Credential> {
        self.state.leases.to_end.values().filter(move |credential| credential.run == run)
    }

    /// Whether a credential still stands for what it was issued for.
    fn is_good(&self, known: &Known) -> bool {
        let of_lease = self.lease(known.run).is_some_and(|held| held.lease == known.lease);
        of_lease && known.agent.is_none_or(|(agent, round)| self.round(agent) == Some(round))
    }

    /// Which token an agent has, or will have as soon as it has one; nothing when nothing it asks for counts.
    fn round(&self, agent: AgentId) -> Option<u32> {
        let (_, _, attempt) = self.attempt(agent)?;
        let works = attempt.end.is_none() && !attempt.cut_off;
        works.then(|| attempt.token.as_ref().map_or(1, |token| token.round))
    }
}

/// The vault has issued a token. When what it was for is over meanwhile, it is ended.
pub(crate) fn issued(turn: &mut Turn<'_>, lease: LeaseId, issued: &Credential) {
    let Credential { accessor, run, agent, at } = issued.clone();
    let leases = &turn.governor.state.leases;
    if leases.to_end.contains_key(&accessor) {
        return turn.refuse(Refusal::LeaseOver { run });
    }
    if leases.credentials.contains_key(&accessor) {
        return;
    }
    let governor = &*turn.governor;
    let is_held =
        governor.lease(run).is_some_and(|held| held.lease == lease && !is_over(held.expires, turn.now));
    let is_of_run = |agent: AgentId| governor.agents.get(&agent).is_some_and(|(of, _)| *of == run);
    let round = agent.map(|agent| governor.round(agent).filter(|_| is_of_run(agent)));
    let of_this = |known: &Known| known.run == run && known.agent.map(|of| of.0) == agent;
    let before = leases.credentials.iter().find(|(_, known)| of_this(known));
    let before = before.map(|(accessor, known)| known.called(accessor));
    let (true, None | Some(Some(_))) = (is_held, round) else {
        end(turn, issued.clone());
        return turn.refuse(Refusal::LeaseOver { run });
    };
    if let Some(before) = before {
        end(turn, before);
    }
    let round = round.flatten().unwrap_or(0);
    turn.record(Fact::CredentialKnown { accessor, run, lease, agent, round, at });
}

/// The vault did what it was asked, or cannot.
pub(crate) fn told(turn: &mut Turn<'_>, accessor: &str, outcome: &CredentialOutcome) {
    let leases = &turn.governor.state.leases;
    match outcome {
        // The entry itself is the record.
        CredentialOutcome::Renewed { .. } => {}
        CredentialOutcome::Ended if leases.to_end.contains_key(accessor) => {
            turn.record(Fact::CredentialEnded { accessor: accessor.to_owned() });
        }
        CredentialOutcome::Over { .. } if leases.credentials.contains_key(accessor) => lost(turn, accessor),
        CredentialOutcome::Ended | CredentialOutcome::Over { .. } => {}
    }
}

/// A token is over in the vault before its time, or nobody can say that it is not. Another one is issued when somebody needs
/// it; what is left of this one is ended, and what comes from it: a vault that lost it, or was away for too long, may have
/// kept those.
fn lost(turn: &mut Turn<'_>, accessor: &str) {
    let known = &turn.governor.state.leases.credentials;
    let Some(gone) = known.get(accessor) else { return };
    let goes = |(other, known): &(&String, &Known)| {
        *other == accessor || (gone.agent.is_none() && known.lease == gone.lease)
    };
    let over: Vec<Credential> =
        known.iter().filter(goes).map(|(accessor, known)| known.called(accessor)).collect();
    turn.record(Fact::CredentialLost { accessor: accessor.to_owned() });
    over.into_iter().for_each(|credential| end(turn, credential));
}

/// A search of the vault found tokens of this home. Those that nothing here knows were left by a crash. There are never more to
/// end than `limits::CREDENTIALS_TO_END` for that: it is the vault that says what it has, and it may say anything.
pub(crate) fn found(turn: &mut Turn<'_>, found: &[Credential]) {
    for credential in found {
        let leases = &turn.governor.state.leases;
        if leases.to_end.len() >= limits::CREDENTIALS_TO_END {
            return;
        }
        let accessor = &credential.accessor;
        if !leases.credentials.contains_key(accessor) && !leases.to_end.contains_key(accessor) {
            end(turn, credential.clone());
        }
    }
}

/// A new epoch: what was to end and is not known to have is asked for again. Not what is over by itself: no token lives for
/// longer than a lease unless it is renewed, and a renewal that had been asked for before is tried for no longer than that.
pub(crate) fn restarted(turn: &mut Turn<'_>) {
    ask_again(turn, None);
}

/// More of what is to end is asked for again, where one decision could not ask for all of it.
pub(crate) fn go_on(turn: &mut Turn<'_>) {
    let after = turn.governor.state.leases.ending.clone().map(|(after, _)| after);
    ask_again(turn, after);
}

/// Asks for what is to end, from after one of them on, as many as one decision may: what the next boot has to write down may be
/// anything that a vault said.
fn ask_again(turn: &mut Turn<'_>, after: Option<String>) {
    let leases = &turn.governor.state.leases;
    let was_in_parts = leases.ending.is_some();
    let rest = after.map_or(Bound::Unbounded, Bound::Excluded);
    let left = leases.to_end.range::<_, String>((rest, Bound::Unbounded));
    let mut next: Vec<Credential> =
        left.map(|(_, credential)| credential.clone()).take(limits::CREDENTIALS_FOUND + 1).collect();
    let goes_on = next.len() > limits::CREDENTIALS_FOUND;
    next.truncate(limits::CREDENTIALS_FOUND);
    let after = next.last().filter(|_| goes_on).map(|credential| credential.accessor.clone());
    for Credential { run, accessor, at, .. } in next {
        let since = turn.governor.state.leases.to_end_since.get(&accessor);
        let over = |since: &LedgerTime| {
            turn.now.ledger
                > since.after(limits::LEASE_TTL).after(limits::LEASE_TTL).after(limits::CLOCK_SKEW)
        };
        if since.is_some_and(over) {
            turn.record(Fact::CredentialEnded { accessor });
        } else {
            turn.ask(Effect::EndCredential { run, accessor, at });
        }
    }
    if goes_on || was_in_parts {
        let again_at = goes_on.then(|| turn.now.ledger.after(Span::from_millis(1)));
        turn.record(Fact::EndingGoesOn { after, again_at });
    }
}

/// Whether no credential is to end.
pub(crate) fn all_good(governor: &Governor) -> bool {
    governor.state.leases.credentials.values().all(|known| governor.is_good(known))
}

/// Ends every credential that is good for nothing any more. What comes from one that ends goes with it.
pub(crate) fn settle(turn: &mut Turn<'_>) {
    for of_runs in [true, false] {
        let governor = &*turn.governor;
        let known = governor.state.leases.credentials.iter();
        let over = known.filter(|(_, known)| known.agent.is_none() == of_runs && !governor.is_good(known));
        let over: Vec<Credential> = over.map(|(accessor, known)| known.called(accessor)).collect();
        over.into_iter().for_each(|credential| end(turn, credential));
    }
}

fn end(turn: &mut Turn<'_>, credential: Credential) {
    let Credential { run, accessor, at, .. } = credential.clone();
    turn.record(Fact::CredentialEnding(credential));
    turn.ask(Effect::EndCredential { run, accessor, at });
}

impl crate::state::Leases {
    /// Lets go of a credential, and of those that come from it.
    pub(crate) fn let_go(&mut self, accessor: &str) {
        let Some(gone) = self.credentials.remove(accessor) else { return };
        if gone.agent.is_none() {
            let stays = self.credentials.iter().filter(|(_, known)| known.lease != gone.lease);
            self.credentials = stays.map(|(accessor, known)| (accessor.clone(), known.clone())).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use eparch_domain::Moment;

    use super::*;
    use crate::event::Event;

    fn found(count: usize, name: &str) -> Event {
        let credential = |number: usize| Credential {
            accessor: format!("{name}-{number:06}"),
            run: RunId::from_bits(1),
            agent: None,
            at: None,
        };
        Event::CredentialsFound { found: (0..count).map(credential).collect() }
    }

    fn booted(epoch: u64) -> Event {
        Event::Booted { epoch, version: String::new(), agents_at_once: 1, clock_moved: None }
    }

    #[test]
    fn r138_what_a_vault_says_it_has_makes_no_decision_too_large_and_no_home_remember_all_of_it() {
        let mut governor = Governor::new();
        let now = |millis| Moment { ledger: LedgerTime::from_millis(millis), ..Moment::default() };
        for part in 0..70 {
            governor.handle(&found(limits::CREDENTIALS_FOUND, &format!("left-{part:02}")), now(1));
        }
        assert_eq!(governor.credentials_to_end(), limits::CREDENTIALS_TO_END);
        let asks = |decision: &crate::decision::Decision| {
            let asked = |effect: &&Effect| matches!(effect, Effect::EndCredential { .. });
            decision.effects.iter().filter(asked).count()
        };
        // However many there are, each is asked for once, a part at a time; also when that was cut off by another boot.
        for epoch in 2..4 {
            let mut part = governor.handle(&booted(epoch), now(epoch * 1_000));
            let mut all = asks(&part);
            let mut replayed = Governor::new();
            replayed.restore(governor.snapshot()).unwrap();
            assert_eq!(replayed.next_deadline(), governor.next_deadline());
            while let Some(deadline) = governor.next_deadline() {
                assert!(asks(&part) <= limits::CREDENTIALS_FOUND);
                part = governor.handle(&Event::ClockTurned, Moment { ledger: deadline.at, ..now(0) });
                all += asks(&part);
                if epoch == 2 && all > limits::CREDENTIALS_TO_END / 2 {
                    break;
                }
            }
            assert_eq!(all == limits::CREDENTIALS_TO_END, epoch == 3, "{all}");
        }
        // What has had its time is over, in parts as well.
        let late = limits::LEASE_TTL.millis() * 3;
        governor.handle(&booted(4), now(late));
        while let Some(deadline) = governor.next_deadline() {
            governor.handle(&Event::ClockTurned, Moment { ledger: deadline.at, ..now(0) });
        }
        assert_eq!(governor.credentials_to_end(), 0);
    }
}
