//! Who may begin, as far as locks go, and who has them: every stage that lives has those that it names, and a stage that waits
//! has none. Nobody begins whose locks another has, or was there first for.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{AgentId, LedgerTime, Name, RunId, StageStatus};
use eparch_governor::{AttemptEnd, Decision, Fact, LockLoss, OperatorRole};
use eparch_pipeline::{StageIx, Work};

use super::leases::Ends;
use super::{Doing, Model};
use crate::seen::Seen;

/// For how long locks are held, in minutes, and how soon they are renewed, in milliseconds.
const HELD_FOR: u64 = 5;
const RENEWED_AFTER: u64 = 100_000;

/// The right of an agent to its locks.
#[derive(Debug, Clone)]
pub(super) struct Right {
    pub(super) ends: Ends,
    pub(super) renew: LedgerTime,
    /// It has lost one of them.
    pub(super) lost: bool,
    /// How often it asked for something after that.
    pub(super) asked_without: u32,
}

/// In which order stages have come to wait for their turn: the turn, and the place in it.
pub(super) type Ranks = BTreeMap<(RunId, StageIx), (u64, usize)>;

impl Model {
    /// Which stages came to wait for their turn in this decision, and in which order, only the decision can tell.
    pub(super) fn note_ranks(&mut self, decision: &Decision) {
        for (at, fact) in decision.facts.iter().enumerate() {
            if let Fact::StageChanged { run, stage, status: StageStatus::Ready, .. }
            | Fact::BackoffOver { run, stage } = fact
            {
                self.ranks.insert((*run, *stage), (self.turn, at));
            }
        }
    }

    /// What a stage names, as it is written: worlds have no expressions there.
    pub(super) fn locks_of(&self, run: RunId, ix: StageIx) -> BTreeSet<String> {
        match &self.runs[&run].pipeline.stage(ix).work {
            Work::Agent(work) => work.locks.iter().map(|text| text.source().to_owned()).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// Whether a stage that waits for its turn can have its locks: nobody has one of them, and nobody that was there before
    /// waits for one.
    pub(super) fn can_have_locks(&self, run: RunId, ix: StageIx) -> bool {
        let wanted = self.locks_of(run, ix);
        let rank = self.ranks.get(&(run, ix));
        let stands_in_the_way = |(of, at, cell): (RunId, StageIx, &super::Cell)| {
            let counts = match cell.doing {
                Doing::Agent(_) => true,
                Doing::Queued(_) => self.ranks.get(&(of, at)) < rank,
                _ => false,
            };
            counts && !self.locks_of(of, at).is_disjoint(&wanted)
        };
        wanted.is_empty() || !self.cells().any(stands_in_the_way)
    }

    /// An attempt that begins has its locks from then on.
    pub(super) fn right_to_locks(&self, run: RunId, ix: StageIx) -> Option<Right> {
        let (ends, renew) = self.new_right();
        (!self.locks_of(run, ix).is_empty()).then_some(Right { ends, renew, lost: false, asked_without: 0 })
    }

    fn new_right(&self) -> (Ends, LedgerTime) {
        (self.in_minutes(HELD_FOR), LedgerTime::from_millis(self.now.millis() + RENEWED_AFTER))
    }

    /// Whose right is over loses it, unless it is being ended, or only lets go of what it holds.
    pub(super) fn look_at_locks(&mut self, id: AgentId) {
        let Some(ends) = self.agent(id).and_then(|agent| Some(agent.right.as_ref()?.ends)) else { return };
        let (over, now) = (self.is_over(ends), self.now);
        if let Some(agent) = self.agent(id).filter(|agent| over && agent.may_lose_locks() && !agent.cut_off) {
            agent.lose_locks(LockLoss::Expired, now);
        }
    }

    pub(super) fn renew_locks(&mut self, id: AgentId) {
        self.look_at_locks(id);
        let (ends, renew) = self.new_right();
        if let Some(agent) = self.agent(id).filter(|agent| !agent.is_killed() && !agent.cut_off)
            && let Some(right) = &mut agent.right
        {
            (right.ends, right.renew) = (ends, renew);
        }
    }

    pub(super) fn locks_after_a_jump(&mut self) {
        let agents: Vec<AgentId> = self.agents().map(|(_, _, agent)| agent.id).collect();
        agents.into_iter().for_each(|agent| self.renew_locks(agent));
    }

    /// An agent asks for something without a lock it had: the first time it is told, the second is a violation, and no other is.
    pub(super) fn asks_without_lock(&mut self, id: AgentId) {
        // What stops everything is told before anything else, and nobody is held to know more.
        if self.stopped {
            return;
        }
        self.look_at_locks(id);
        let Some(agent) = self.agent(id).filter(|agent| !agent.cut_off) else { return };
        let Some(right) = agent.right.as_mut().filter(|right| right.lost) else { return };
        right.asked_without += 1;
        if right.asked_without == 2 {
            self.violates(id, eparch_domain::ViolationType::ProcedureSkipped);
        }
    }

    /// Somebody takes a lock away from whoever has it.
    pub(super) fn lock_taken(&mut self, lock: &Name, by: &Name) -> BTreeSet<&'static str> {
        match self.people.get(by).map(|person| person.operator.role) {
            None => return ["EP0204"].into(),
            Some(OperatorRole::Operator | OperatorRole::Admin) => {}
            Some(_) => return ["EP0205"].into(),
        }
        let holds = |(run, ix, _): &(RunId, StageIx, &super::agent::Agent)| {
            self.locks_of(*run, *ix).contains(lock.as_str())
        };
        let Some((run, ix)) = self.agents().find(holds).map(|(run, ix, _)| (run, ix)) else {
            return ["EP0671"].into();
        };
        let now = self.now;
        let cell = self.cell(run, ix);
        let given_up = cell.given_up_as.is_some();
        let Doing::Agent(agent) = &mut cell.doing else { return BTreeSet::new() };
        if !agent.may_lose_locks() || agent.cut_off && given_up {
            return ["already"].into();
        }
        agent.lose_locks(LockLoss::Taken { by: by.clone(), reason: String::new() }, now);
        if agent.cut_off {
            cell.given_up_as = Some(StageStatus::Failed);
        }
        BTreeSet::new()
    }

    /// # Errors
    ///
    /// The first difference.
    pub(super) fn compare_locks(&self, seen: &Seen) -> Result<(), String> {
        let of = |(run, ix, agent): (RunId, StageIx, &super::agent::Agent)| {
            let id = agent.id;
            self.locks_of(run, ix).into_iter().map(move |lock| (lock, id))
        };
        let expected: BTreeMap<String, AgentId> = self.agents().flat_map(of).collect();
        let found: BTreeMap<String, AgentId> =
            seen.locks.held.iter().map(|(lock, (agent, _))| (lock.to_string(), *agent)).collect();
        if found != expected {
            return Err(format!("locks are held by {found:?}, expected {expected:?}"));
        }
        for (_, _, agent) in self.agents() {
            let expected = agent.right.as_ref().map(|right| (right.ends, right.renew));
            let found = seen.locks.leases.get(&agent.id).map(|(ends, renew)| (Ends::of(*ends), *renew));
            if found != expected {
                return Err(format!("{} has its locks until {found:?}, expected {expected:?}", agent.id));
            }
        }
        Ok(())
    }
}

impl super::agent::Agent {
    pub(super) fn may_lose_locks(&self) -> bool {
        !self.is_killed() && !self.only_lets_go()
    }

    /// One that was cut off is not killed: its stage is given up, and it has to be proven dead.
    fn lose_locks(&mut self, because: LockLoss, now: LedgerTime) {
        if let Some(right) = &mut self.right {
            right.lost = true;
        }
        if !self.cut_off {
            let lock = crate::people::name("lost");
            self.kill(AttemptEnd::LockLost { lock, because }, now);
        }
    }

    /// Its locks are renewed while it is not being ended and its holder lives.
    pub(super) fn locks_due(&self) -> Option<LedgerTime> {
        self.right.as_ref().filter(|_| !self.is_killed() && !self.cut_off).map(|right| right.renew)
    }

    /// It has lost a lock, and is told that before anything else.
    pub(super) fn is_without_lock(&self) -> bool {
        !self.cut_off && self.right.as_ref().is_some_and(|right| right.lost)
    }
}
