//! What a run's authority is, and its agents': a lease for as long as somebody works, and for each agent a token of it. Each
//! ends at a moment of ledger time and of the wall clock, whichever says so first, unless it is renewed before.

use std::collections::BTreeSet;

use eparch_domain::{AgentId, Digest, LeaseId, LedgerTime, Moment, RunId, Span, Tier, limits};
use eparch_pipeline::Work;
use serde::{Deserialize, Serialize};

use crate::effect::Effect;
use crate::fact::Fact;
use crate::governor::{Governor, Turn};
use crate::state::Attempt;
use crate::until::{end, is_over, left};

/// A run's lease (R133, R134).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// What it is called: nobody can do anything with it.
    pub lease: LeaseId,
    /// When it is over, unless it is renewed.
    pub expires: Moment,
    /// When it is renewed (R135).
    pub renew_at: LedgerTime,
    /// How often it was.
    pub renewals: u32,
}

impl Lease {
    /// What it has left.
    pub fn left(&self, now: Moment) -> Span {
        left(self.expires, now)
    }
}

impl AgentToken {
    /// What it has left.
    pub fn left(&self, now: Moment) -> Span {
        left(self.expires, now)
    }
}

/// An agent's token of its run's lease. What the agent has stays the same; what stands for it here lives for two hours at most,
/// and is followed by the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentToken {
    /// The lease it is of.
    pub lease: LeaseId,
    /// Which of the agent's it is, from 1.
    pub round: u32,
    /// The hash of what the agent has.
    pub hash: Digest,
    /// When it was issued.
    pub issued: LedgerTime,
    /// When it is over, unless it is renewed.
    pub expires: Moment,
    /// When it is renewed.
    pub renew_at: LedgerTime,
    /// How often it was.
    pub renewals: u32,
}

/// How an agent's authority stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentStanding {
    /// It has a token.
    Holds,
    /// It has one, and that is over.
    Expired,
    /// It has none: none yet, or none any more, since something is decided about its end.
    Nothing,
}

/// Why a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseEnd {
    /// Nobody of the run works: it waits, for people or for a free agent.
    Idle,
    /// The run is being ended.
    RunEnding,
    /// The run has ended.
    RunEnded,
    /// Its time was over before it was renewed: time has passed unseen, or the wall clock has jumped.
    Expired,
    /// A new epoch began, and nobody it was for has any authority in it.
    Restarted,
}

/// Whether what an agent asks for counts, its token aside: nothing was decided about its end, and its holder lives.
fn works(attempt: &Attempt) -> bool {
    attempt.end.is_none() && !attempt.cut_off
}

/// Whether what stands for what an agent has is over. Before it has an identity there is nothing to be over, and nothing that
/// policies allow it.
pub(crate) fn has_expired(attempt: &Attempt, now: Moment) -> bool {
    attempt.token.as_ref().is_some_and(|token| is_over(token.expires, now))
}

impl Governor {
    /// A run's lease, while it has one.
    pub fn lease(&self, run: RunId) -> Option<&Lease> {
        self.state.leases.held.get(&run)
    }

    /// An agent's token, while it has one.
    pub fn token(&self, agent: AgentId) -> Option<&AgentToken> {
        self.attempt(agent)?.2.token.as_ref()
    }

    /// How an agent's authority stands, for what no event tells of.
    pub fn agent_standing(&self, agent: AgentId, now: Moment) -> AgentStanding {
        match self.attempt(agent) {
            Some((_, _, attempt)) if works(attempt) && attempt.token.is_some() => {
                if has_expired(attempt, now) { AgentStanding::Expired } else { AgentStanding::Holds }
            }
            _ => AgentStanding::Nothing,
        }
    }

    /// The agents of a run that have a token.
    pub fn token_holders(&self, run: RunId) -> impl Iterator<Item = AgentId> + '_ {
        let of_run = self.agents.iter().filter(move |(_, (of, _))| *of == run);
        of_run.map(|(agent, _)| *agent).filter(|agent| self.token(*agent).is_some())
    }

    /// The highest tier a run's agents may have.
    pub fn granted(&self, run: RunId) -> Option<Tier> {
        self.run(run).map(|live| live.spawned.grant)
    }

    /// The tier an agent works at (X35).
    pub fn agent_tier(&self, agent: AgentId) -> Option<Tier> {
        let (run, ix, _) = self.attempt(agent)?;
        let live = self.run(run)?;
        match &live.graph().pipeline.stage(ix).work {
            Work::Agent(_) => Some(self.tier_at(live, ix)),
            _ => None,
        }
    }

    /// The run of each agent that is at work, the cut off aside.
    fn agents_at_work(&self) -> impl Iterator<Item = RunId> + '_ {
        let agents = self.agents.keys().filter_map(|agent| self.attempt(*agent));
        agents.filter(|(_, _, attempt)| !attempt.cut_off).map(|(run, ..)| run)
    }
}

/// An agent of a run begins: its run has a lease, from now on or still.
pub(crate) fn ensure(turn: &mut Turn<'_>, run: RunId) {
    if turn.governor.lease(run).is_none() {
        begin(turn, run);
    }
}

fn begin(turn: &mut Turn<'_>, run: RunId) {
    let Some(live) = turn.governor.run(run) else { return };
    let round = live.leases_begun + 1;
    let parts: [&[u8]; 3] = [b"lease", &run.bits().to_be_bytes(), &round.to_be_bytes()];
    let lease = LeaseId::derived(&Digest::of_parts(&parts));
    let expires = end(turn.now, limits::LEASE_TTL);
    let renew_at = turn.now.ledger.after(limits::LEASE_RENEW_EVERY);
    turn.record(Fact::LeaseBegan { run, lease, round, expires, renew_at });
}

/// A lease is renewed while somebody of its run works. One whose time is over is not: another one begins, and whoever works
/// has tokens of that.
pub(crate) fn renew(turn: &mut Turn<'_>, run: RunId) {
    let Some(held) = turn.governor.lease(run).cloned() else { return };
    if !turn.governor.agents_at_work().any(|of| of == run)
        || turn.governor.run(run).is_none_or(|live| live.ending.is_some())
    {
        return;
    }
    if is_over(held.expires, turn.now) {
        turn.record(Fact::LeaseEnded { run, lease: held.lease, because: LeaseEnd::Expired });
        begin(turn, run);
        let holders: Vec<AgentId> = turn.governor.token_holders(run).collect();
        return holders.into_iter().for_each(|agent| renew_token(turn, agent));
    }
    let expires = end(turn.now, limits::LEASE_TTL);
    let renew_at = turn.now.ledger.after(limits::LEASE_RENEW_EVERY);
    turn.record(Fact::LeaseRenewed { run, lease: held.lease, expires, renew_at });
    if let Some(accessor) = turn.governor.credential(run, None).map(str::to_owned) {
        turn.ask(Effect::RenewCredential { accessor, ttl: limits::LEASE_TTL });
    }
}

/// An agent has an identity: a token of its run's lease stands for it from now on.
pub(crate) fn issue(turn: &mut Turn<'_>, agent: AgentId, hash: Digest) {
    issue_round(turn, agent, hash, 1);
}

fn issue_round(turn: &mut Turn<'_>, agent: AgentId, token: Digest, round: u32) {
    let Some((run, _, attempt)) = turn.governor.attempt(agent) else { return };
    let Some(held) = turn.governor.lease(run).filter(|_| works(attempt)) else { return };
    let lease = held.lease;
    let (expires, renew_at) = child_times(held.expires, turn.now);
    turn.record(Fact::TokenIssued { agent, lease, round, token, expires, renew_at });
}

/// When an agent's token ends, its lease's end at the latest, and when two thirds of its life are over.
fn child_times(lease: Moment, now: Moment) -> (Moment, LedgerTime) {
    let full = end(now, limits::CHILD_TTL);
    let expires = Moment { ledger: full.ledger.min(lease.ledger), wall: full.wall.min(lease.wall) };
    let two_thirds = left(expires, now).millis().saturating_mul(2) / 3;
    (expires, now.ledger.after(Span::from_millis(two_thirds)))
}

/// An agent's token is renewed while it works. One whose time is over, or that would live for more than two hours in all
/// (X15), is followed by the next: what the agent has stands for that one then.
pub(crate) fn renew_token(turn: &mut Turn<'_>, agent: AgentId) {
    let Some((run, _, attempt)) = turn.governor.attempt(agent) else { return };
    let Some(token) = attempt.token.clone().filter(|_| works(attempt)) else { return };
    let Some(held) = turn.governor.lease(run) else { return };
    let (lease, lease_ends) = (held.lease, held.expires);
    if is_over(lease_ends, turn.now) {
        return renew(turn, run);
    }
    let last = token.issued.after(limits::LEASE_TTL);
    let full = turn.now.ledger.after(limits::CHILD_TTL);
    if token.lease != lease || is_over(token.expires, turn.now) || full > last {
        return issue_round(turn, agent, token.hash, token.round + 1);
    }
    let (expires, renew_at) = child_times(lease_ends, turn.now);
    turn.record(Fact::TokenRenewed { agent, round: token.round, expires, renew_at });
    if let Some(accessor) = turn.governor.credential(run, Some(agent)).map(str::to_owned) {
        turn.ask(Effect::RenewCredential { accessor, ttl: left(expires, turn.now) });
    }
}

/// The wall clock has jumped. Whoever works goes on: what is over by now is followed by the next, and what is not is renewed
/// by the clock as it is now, since it would end before it is looked at again otherwise, or long after it should.
pub(crate) fn clock_jumped(turn: &mut Turn<'_>) {
    let runs: Vec<RunId> = turn.governor.state.leases.held.keys().copied().collect();
    for run in runs {
        renew(turn, run);
        let holders: Vec<AgentId> = turn.governor.token_holders(run).collect();
        for agent in holders {
            let (Some(held), Some(token)) = (turn.governor.lease(run), turn.governor.token(agent)) else {
                continue;
            };
            // Those of a lease that has just begun are new.
            if token.expires != child_times(held.expires, turn.now).0 {
                renew_token(turn, agent);
            }
        }
    }
}

/// A new epoch: nobody of the one before has any authority.
pub(crate) fn restarted(turn: &mut Turn<'_>) {
    let held: Vec<_> = turn.governor.state.leases.held.iter().map(|(run, held)| (*run, held.lease)).collect();
    for (run, lease) in held {
        turn.record(Fact::LeaseEnded { run, lease, because: LeaseEnd::Restarted });
    }
}

/// Ends every lease that is for nobody any more. Looked at when a turn has done everything else: an agent that begins in the
/// turn in which another ends goes on with the lease there is.
pub(crate) fn settle(turn: &mut Turn<'_>) {
    // Looking takes as long as there are agents. Most of what they ask for leaves everybody at work who was, and then every
    // lease that was settled still is.
    if turn.decision.facts.iter().all(leaves_all_at_work) {
        debug_assert!(
            over(turn.governor).is_empty() && crate::credential::all_good(turn.governor),
            "{:?} left authority without anybody",
            turn.decision.facts
        );
        return;
    }
    for (run, lease, because) in over(turn.governor) {
        turn.record(Fact::LeaseEnded { run, lease, because });
    }
    crate::credential::settle(turn);
}

/// Whether a fact changes nothing of runs, agents and leases that says who has authority. It need not be known of all: what is
/// not known to leave it is looked at.
fn leaves_all_at_work(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::ActionDecided(_)
            | Fact::PermitSpent { .. }
            | Fact::ActionEnded { .. }
            | Fact::ProgressSeen { .. }
            | Fact::OutputSeen { .. }
            | Fact::ErrorCounted { .. }
    )
}

/// The leases that are for nobody any more, and why.
fn over(governor: &Governor) -> Vec<(RunId, LeaseId, LeaseEnd)> {
    // Found once for all of them.
    let at_work: BTreeSet<RunId> = governor.agents_at_work().collect();
    let why = |run: RunId| match governor.run(run) {
        None => Some(LeaseEnd::RunEnded),
        Some(live) if live.ending.is_some() => Some(LeaseEnd::RunEnding),
        Some(_) => (!at_work.contains(&run)).then_some(LeaseEnd::Idle),
    };
    let held = governor.state.leases.held.iter();
    held.filter_map(|(run, held)| Some((*run, held.lease, why(*run)?))).collect()
}
