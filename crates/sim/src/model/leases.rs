//! Who has authority, and until when: a run while somebody of it works, an agent from when it has an identity until something
//! is decided about its end.

use std::collections::BTreeSet;

use eparch_domain::{AgentId, Digest, LedgerTime, Moment, Name, RunId, Span, Timestamp, ViolationType};
use eparch_governor::{GateOpened, Until};

use super::agent::Agent;
use super::{Doing, Model, OpenGate};
use crate::seen::Seen;

const MINUTE: u64 = 60_000;

/// A moment of ledger time and one of the wall clock, in milliseconds; what ends then has ended when either has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ends {
    ledger: u64,
    wall: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Lease {
    number: u32,
    ends: Ends,
    /// Nothing when it is about to end.
    pub(super) renew: Option<LedgerTime>,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    lease: u32,
    number: u32,
    issued: u64,
    ends: Ends,
    pub(super) renew: LedgerTime,
    /// The hash of what the agent has.
    hash: Digest,
}

/// A wall clock that was set back while there was no holder: nobody believes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Behind {
    /// Of what it said before.
    of: i64,
    /// When it is looked at again.
    pub(super) look: LedgerTime,
}

impl Ends {
    pub(super) fn of(ends: Moment) -> Ends {
        Ends { ledger: ends.ledger.millis(), wall: ends.wall.millis() }
    }
}

impl Ends {
    /// Until when a gate waits.
    pub(super) fn until_of(opened: &GateOpened) -> Ends {
        let Until { ledger, wall } = opened.deadline;
        Ends { ledger: ledger.millis(), wall: wall.map_or(0, Timestamp::millis) }
    }

    pub(super) fn in_ledger_time(self) -> LedgerTime {
        LedgerTime::from_millis(self.ledger)
    }

    pub(super) fn is_over(self, now: Moment) -> bool {
        now.ledger.millis() >= self.ledger || now.wall.millis() >= self.wall
    }

    /// Set back, the wall clock lets it last no longer than ledger time does.
    pub(super) fn end_sooner(&mut self, now: Moment) {
        let left = self.ledger.saturating_sub(now.ledger.millis());
        self.wall = self.wall.min(now.wall.millis() + left.cast_signed());
    }

    pub(super) fn until(self) -> Until {
        self.moment().into()
    }

    pub(super) fn moment(self) -> Moment {
        Moment { ledger: self.in_ledger_time(), wall: Timestamp::from_millis(self.wall) }
    }
}

impl Model {
    pub(super) fn is_over(&self, ends: Ends) -> bool {
        ends.is_over(self.moment())
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { ledger: self.now, wall: Timestamp::from_millis(self.wall) }
    }

    /// When ledger time says so much, or the wall clock what it will say by then.
    pub(super) fn ends_by(&self, ledger: LedgerTime) -> Ends {
        self.in_millis(ledger.since(self.now).millis())
    }

    /// What nobody renews ends no later by the wall clock than by ledger time.
    fn end_sooner(&mut self) {
        let now = self.moment();
        let sooner = |gate: &mut OpenGate| {
            let mut ends = Ends::until_of(&gate.opened);
            ends.end_sooner(now);
            gate.opened.deadline = ends.until();
        };
        for cell in self.runs.values_mut().flat_map(|run| &mut run.cells) {
            match &mut cell.doing {
                Doing::Gate(gate) => sooner(gate),
                Doing::Agent(agent) => {
                    agent.questions.values_mut().for_each(sooner);
                    agent.actions.end_sooner(now);
                }
                Doing::Nothing | Doing::Queued(_) | Doing::Backoff(_) => {}
            }
        }
        self.glasses.values_mut().for_each(|glass| glass.ends.end_sooner(now));
        self.offer_ends_sooner(now);
    }

    pub(super) fn in_minutes(&self, minutes: u64) -> Ends {
        self.in_millis(minutes * MINUTE)
    }

    /// What is left, by whichever clock says less.
    pub(super) fn time_until(&self, ends: Ends) -> Span {
        Span::from_millis((ends.ledger - self.now.millis()).min((ends.wall - self.wall).unsigned_abs()))
    }

    pub(super) fn in_millis(&self, more: u64) -> Ends {
        Ends { ledger: self.now.millis() + more, wall: self.wall + more.cast_signed() }
    }

    /// Before anything else: a clock that has caught up is believed.
    pub(super) fn look_at_clock(&mut self) {
        if self.behind.is_some_and(|behind| self.wall >= behind.of) {
            self.behind = None;
            self.end_sooner();
        }
    }

    pub(super) fn clock_looked_at(&mut self) {
        let (now, wall) = (self.now.millis(), self.wall);
        if let Some(behind) = &mut self.behind {
            behind.look = LedgerTime::from_millis(now + (behind.of - wall).unsigned_abs());
        }
    }

    /// A holder begins: nobody of an earlier one has a lease, and a clock that has gone back since `before` is not believed.
    pub(super) fn leases_end(&mut self, before: Option<i64>) {
        self.leases.clear();
        if let Some(before) = before.filter(|before| before - self.wall > 2_000) {
            let of = self.behind.map_or(before, |behind| behind.of.max(before));
            self.behind = Some(Behind { of, look: self.now });
        }
        self.clock_looked_at();
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.behind.is_some()
    }

    pub(super) fn vouched(&mut self, by: &Name) -> BTreeSet<&'static str> {
        match self.people.get(by) {
            None => ["EP0204"].into(),
            Some(person) if !person.administers() => ["EP0205"].into(),
            Some(_) => {
                if self.behind.take().is_some() {
                    self.end_sooner();
                }
                BTreeSet::new()
            }
        }
    }

    pub(super) fn clock_jumped(&mut self) {
        self.clock_looked_at();
        if !self.is_doubted() {
            self.end_sooner();
        }
        for run in self.leases.keys().copied().collect::<Vec<_>>() {
            self.renew_lease(run);
            for agent in self.holders(run) {
                let fresh = self.child_ends(run);
                if self.token(agent).is_some_and(|token| token.ends != fresh) {
                    self.renew_token(agent);
                }
            }
        }
        self.locks_after_a_jump();
    }

    fn new_lease(&mut self, run: RunId) {
        let number = self.lease_numbers.entry(run).or_default();
        *number += 1;
        let number = *number;
        let renew = Some(LedgerTime::from_millis(self.now.millis() + 30 * MINUTE));
        self.leases.insert(run, Lease { number, ends: self.in_minutes(120), renew });
    }

    /// Somebody of the run begins.
    pub(super) fn lease_for(&mut self, run: RunId) {
        if !self.leases.contains_key(&run) {
            self.new_lease(run);
        }
    }

    pub(super) fn renew_lease(&mut self, run: RunId) {
        let needed = self.is_needed(run);
        let (now, until) = (self.now.millis(), self.in_minutes(120));
        let Some(ends) = self.leases.get(&run).map(|lease| lease.ends) else { return };
        let over = self.is_over(ends);
        let Some(lease) = self.leases.get_mut(&run) else { return };
        if !needed {
            lease.renew = None;
        } else if over {
            self.new_lease(run);
            self.holders(run).into_iter().for_each(|agent| self.renew_token(agent));
        } else {
            (lease.ends, lease.renew) = (until, Some(LedgerTime::from_millis(now + 30 * MINUTE)));
        }
    }

    fn is_needed(&self, run: RunId) -> bool {
        let goes_on = self.runs.get(&run).is_some_and(|live| live.ending.is_none());
        goes_on && self.agents().any(|(of, _, agent)| of == run && !agent.cut_off)
    }

    /// The agents of a run that have a token.
    fn holders(&self, run: RunId) -> Vec<AgentId> {
        let have = self.agents().filter(|(of, _, agent)| *of == run && agent.live_token().is_some());
        have.map(|(_, _, agent)| agent.id).collect()
    }

    fn token(&self, id: AgentId) -> Option<&Token> {
        self.agents().find(|(_, _, agent)| agent.id == id)?.2.live_token()
    }

    fn child_ends(&self, run: RunId) -> Ends {
        let (own, lease) = (self.in_minutes(30), self.leases[&run].ends);
        Ends { ledger: own.ledger.min(lease.ledger), wall: own.wall.min(lease.wall) }
    }

    fn two_thirds_of(&self, ends: Ends) -> LedgerTime {
        let (now, wall) = (self.now.millis(), self.wall);
        let left = (ends.ledger - now).min((ends.wall - wall).unsigned_abs());
        LedgerTime::from_millis(now + left * 2 / 3)
    }

    /// An agent has an identity.
    pub(super) fn give_token(&mut self, run: RunId, id: AgentId, hash: Digest) {
        self.next_token(run, id, 1, hash);
    }

    /// Who shows what another agent has pretends to be it. What nobody has any more is only refused.
    pub(super) fn token_shown(&mut self, id: AgentId, token: &Digest) {
        let shown = |agent: &Agent| agent.live_token().is_some_and(|held| held.hash == *token);
        let anothers = self.agents().any(|(_, _, agent)| agent.id != id && shown(agent));
        if anothers && self.agent(id).is_some_and(|agent| agent.has_authority()) {
            self.violates(id, ViolationType::IdentityForgery);
        }
    }

    fn next_token(&mut self, run: RunId, id: AgentId, number: u32, hash: Digest) {
        let Some(lease) = self.leases.get(&run).map(|lease| lease.number) else { return };
        let ends = self.child_ends(run);
        let (issued, renew) = (self.now.millis(), self.two_thirds_of(ends));
        if let Some(agent) = self.agent(id).filter(|agent| agent.has_authority()) {
            agent.token = Some(Token { lease, number, issued, ends, renew, hash });
        }
    }

    pub(super) fn renew_token(&mut self, id: AgentId) {
        let Some(run) = self.agents().find(|(_, _, agent)| agent.id == id).map(|(run, ..)| run) else {
            return;
        };
        let (Some(token), Some(lease)) = (self.token(id).cloned(), self.leases.get(&run).cloned()) else {
            return;
        };
        if self.is_over(lease.ends) {
            return self.renew_lease(run);
        }
        let too_old = self.now.millis() + 30 * MINUTE > token.issued + 120 * MINUTE;
        if token.lease != lease.number || self.is_over(token.ends) || too_old {
            return self.next_token(run, id, token.number + 1, token.hash);
        }
        let ends = self.child_ends(run);
        let renew = self.two_thirds_of(ends);
        if let Some(token) = self.agent(id).and_then(|agent| agent.token.as_mut()) {
            (token.ends, token.renew) = (ends, renew);
        }
    }

    /// Whether what stands for what an agent has is over.
    pub(super) fn has_expired(&self, id: AgentId) -> bool {
        self.token(id).is_some_and(|token| self.is_over(token.ends))
    }

    /// After everything else: no lease is held for nobody.
    pub(super) fn end_leases(&mut self) {
        let over: Vec<RunId> = self.leases.keys().copied().filter(|run| !self.is_needed(*run)).collect();
        for run in over {
            self.leases.remove(&run);
        }
    }

    /// Holds leases and tokens against what the facts say.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub(super) fn compare_leases(&self, seen: &Seen) -> Result<(), String> {
        type Row = (u32, u64, i64, Option<u64>);
        let expected: Vec<(RunId, Row)> = self
            .leases
            .iter()
            .map(|(run, lease)| {
                let renew = lease.renew.map(LedgerTime::millis);
                (*run, (lease.number, lease.ends.ledger, lease.ends.wall, renew))
            })
            .collect();
        let found: Vec<(RunId, Row)> = seen
            .leases
            .iter()
            .map(|(run, lease)| {
                let ends = lease.expires;
                let renew = Some(lease.renew_at.millis());
                (*run, (lease.round, ends.ledger.millis(), ends.wall.millis(), renew))
            })
            .collect();
        if found != expected {
            return Err(format!("leases are {found:?}, expected {expected:?}"));
        }
        for (_, _, agent) in self.agents() {
            let expected = agent
                .live_token()
                .map(|token| (token.number, token.ends.ledger, token.ends.wall, token.renew.millis()));
            let found = seen.token(agent.id).map(|token| {
                let ends = token.expires;
                (token.round, ends.ledger.millis(), ends.wall.millis(), token.renew_at.millis())
            });
            if found != expected {
                return Err(format!("the token of {} is {found:?}, expected {expected:?}", agent.id));
            }
        }
        Ok(())
    }
}
