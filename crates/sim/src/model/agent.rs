//! One agent: eight phases in order, and the ways out of them.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{
    AgentId, Digest, GateId, LedgerTime, PermitId, Phase, RunId, Span, StageStatus, Tier, limits,
};
use eparch_governor::{AttemptEnd, Ended, Outcome, Signal};
use eparch_pipeline::{AgentWork, OnInterrupt, StageIx, Work};
use serde_json::Value;

use super::actions::{Actions, Word};
use super::heartbeats::Pulse;
use super::leases::Token;
use super::locks::Right;
use super::{Doing, Due, Hints, Model, OpenGate};

#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) id: AgentId,
    pub(super) cut_off: bool,
    /// How many phases it has behind it: 3 is in EXECUTE.
    behind: usize,
    start_by: LedgerTime,
    pub(super) execute_by: Option<LedgerTime>,
    pub(super) idle_by: Option<LedgerTime>,
    /// What was left of it when people were asked.
    pub(super) idle_left: Option<Span>,
    /// When it is asked for again, while it is to be dead.
    gone_by: Option<LedgerTime>,
    /// How often it was asked for in vain.
    pub(super) in_vain: u32,
    /// How it will have ended, once that is settled.
    fate: Option<AttemptEnd>,
    killed: bool,
    /// It goes no further, and is to be proven dead.
    stands: bool,
    errors: BTreeMap<String, u32>,
    /// Since it has said that it lives, if it has.
    pub(super) pulse: Option<Pulse>,
    /// When its calls were limited.
    limited_at: Vec<LedgerTime>,
    /// How often it violated procedure.
    skipped: u32,
    /// How often it violated anything.
    pub(super) wrong: u32,
    /// How much of that its standing has not heard of yet.
    unsaid: u32,
    /// What it asked for.
    pub(super) actions: Actions,
    /// What is performed for it, and whether that was let go.
    pub(super) performing: BTreeMap<PermitId, bool>,
    /// What it has people asked.
    pub(super) questions: BTreeMap<GateId, OpenGate>,
    /// At which tier it works: nobody starts a run whose stages need more than it is granted.
    pub(super) tier: Tier,
    /// Its plan holds work on staging.
    pub(super) plans_staging: bool,
    outputs: BTreeMap<String, Value>,
    package: Option<Digest>,
    /// Its right to its locks, if its stage names any.
    pub(super) right: Option<Right>,
    /// The last it was given.
    pub(super) token: Option<Token>,
}

const EXECUTE: usize = 3;

fn place(phase: Phase) -> usize {
    eparch_domain::phase::AGENT_PHASES_ORDERED.iter().position(|known| *known == phase).unwrap_or(usize::MAX)
}

fn failed() -> AttemptEnd {
    AttemptEnd::Failed { code: String::new(), reason: String::new() }
}

/// PREFLIGHT looks at three things (R005).
fn all_looked_at(checks: &[eparch_governor::Check]) -> bool {
    let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    names.contains(&"sandbox") && names.contains(&"inventory") && names.contains(&"dependencies")
}

impl Agent {
    pub(super) fn begun(id: AgentId, tier: Tier, start_by: LedgerTime) -> Agent {
        Agent {
            id,
            cut_off: false,
            behind: 0,
            start_by,
            execute_by: None,
            idle_by: None,
            idle_left: None,
            gone_by: None,
            in_vain: 0,
            fate: None,
            killed: false,
            stands: false,
            errors: BTreeMap::new(),
            pulse: None,
            limited_at: Vec::new(),
            skipped: 0,
            wrong: 0,
            unsaid: 0,
            actions: Actions::default(),
            performing: BTreeMap::new(),
            questions: BTreeMap::new(),
            tier,
            plans_staging: false,
            outputs: BTreeMap::new(),
            package: None,
            right: None,
            token: None,
        }
    }

    pub(super) fn due(&self) -> Option<(LedgerTime, Due)> {
        if let Some(at) = self.gone_by {
            return Some((at, Due::Gone(self.id)));
        }
        if self.fate.is_some() || self.cut_off || self.behind > EXECUTE {
            return None;
        }
        let own = match self.execute_by {
            Some(at) => (at, Due::Execute(self.id)),
            None => (self.start_by, Due::Start(self.id)),
        };
        let idle = self.idle_by.map(|at| (at, Due::Idle(self.id)));
        let silent = self.pulse.as_ref().and_then(|pulse| pulse.due(self.id));
        [Some(own), idle, silent].into_iter().flatten().min()
    }

    /// It is to be dead, and was asked for.
    pub(super) fn must_go(&mut self, now: LedgerTime) {
        (self.gone_by, self.idle_by) = (Some(now.after(limits::GONE_AFTER)), None);
    }

    /// It was asked for in vain: next time after twice as long, but no longer than some minutes.
    pub(super) fn ask_again(&mut self, now: LedgerTime) {
        self.in_vain += 1;
        let mut wait = limits::GONE_AFTER.millis();
        for _ in 0..self.in_vain {
            wait = (wait * 2).min(limits::GONE_AFTER_MAX.millis());
        }
        self.gone_by = Some(now.after(Span::from_millis(wait)));
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed
    }

    pub(super) fn kill(&mut self, fate: AttemptEnd, now: LedgerTime) {
        if !self.killed {
            self.must_go(now);
        }
        (self.killed, self.fate) = (true, Some(fate));
    }

    pub(super) fn time_out(&mut self, limit: &str, now: LedgerTime) {
        if !self.killed {
            self.kill(AttemptEnd::TimedOut { limit: limit.to_owned(), allowed: Span::ZERO }, now);
        }
    }

    /// It stood still for too long: that is a violation, and it alone loses what it had (R081).
    pub(super) fn stall(&mut self, now: LedgerTime) {
        self.goes_wrong();
        self.kill(AttemptEnd::Stalled { allowed: Span::ZERO }, now);
    }

    pub(super) fn cancel(&mut self, now: LedgerTime) {
        let may_be_tried_again = matches!(
            self.fate,
            Some(AttemptEnd::Failed { .. } | AttemptEnd::TimedOut { .. } | AttemptEnd::LockLost { .. })
        );
        if !self.killed || may_be_tried_again {
            self.kill(AttemptEnd::Cancelled { reason: String::new() }, now);
        }
    }

    pub(super) fn revoke(&mut self, now: LedgerTime) {
        self.kill(AttemptEnd::Revoked { reason: String::new() }, now);
    }

    /// Everything but EXIT is behind it.
    pub(super) fn only_lets_go(&self) -> bool {
        self.behind == 7
    }

    /// How it will have ended is settled.
    pub(super) fn is_being_ended(&self) -> bool {
        self.fate.is_some()
    }

    /// What it asks for counts: nothing was decided about its end, and its holder lives (G2).
    pub(super) fn has_authority(&self) -> bool {
        self.fate.is_none() && !self.cut_off
    }

    /// It is in EXECUTE, and what it asks for counts.
    pub(super) fn works(&self) -> bool {
        self.has_authority() && self.behind == EXECUTE
    }

    /// Its program has not ended, and what it asks for counts: it may come back for an answer.
    pub(super) fn may_come_back(&self) -> bool {
        self.has_authority() && self.behind <= EXECUTE
    }

    /// What stands for what it has, while what it asks for counts.
    pub(super) fn live_token(&self) -> Option<&Token> {
        self.token.as_ref().filter(|_| self.has_authority())
    }

    /// It has left BOOTSTRAP and not come to EXIT (R004).
    pub(super) fn is_set_up(&self) -> bool {
        self.behind > 0 && !self.only_lets_go()
    }

    fn goes_wrong(&mut self) {
        (self.wrong, self.unsaid) = (self.wrong + 1, self.unsaid + 1);
    }

    /// One violation of procedure is within the budget (R199).
    pub(super) fn skips_procedure(&mut self, now: LedgerTime) {
        self.skipped += 1;
        // One that only lets go of what it holds has nothing left to lose.
        if self.skipped > 1 && !self.only_lets_go() {
            self.revoke(now);
        }
    }

    /// Eight errors and two of a kind are within the budget (2.C rule 1), five of its run in any sixty seconds are, too (rule 2).
    fn revoke_if_over_budget(&mut self, lately: usize, now: LedgerTime) {
        let total: u32 = self.errors.values().sum();
        let over = total > 8 || self.errors.values().any(|count| *count > 2) || lately > 5;
        if over && self.fate.is_none() {
            self.goes_wrong();
            self.revoke(now);
        }
    }

    /// Twice within ten minutes it is only kept from calling.
    fn limit(&mut self, now: LedgerTime) {
        if self.fate.is_some() || self.cut_off || self.only_lets_go() {
            return;
        }
        self.limited_at.push(now);
        if self.limited_at.iter().filter(|at| now.since(**at).millis() < 600_000).count() > 2 {
            self.goes_wrong();
            self.revoke(now);
        }
    }

    pub(super) fn is_revoked(&self) -> bool {
        matches!(self.fate, Some(AttemptEnd::Revoked { .. }))
    }

    /// It stood still for too long.
    pub(super) fn is_stalled(&self) -> bool {
        matches!(self.fate, Some(AttemptEnd::Stalled { .. }))
    }

    /// Nothing that comes of it counts.
    fn puts_out_nothing(&self) -> bool {
        self.is_revoked() || self.is_stalled()
    }

    /// Takes one outcome of the phase it is in; how the attempt ends, if it does.
    fn outcome(&mut self, outcome: &Outcome, work: &AgentWork, now: LedgerTime) -> Option<AttemptEnd> {
        if self.puts_out_nothing() && self.behind >= EXECUTE {
            return self.fate.clone();
        }
        let bad_check = |checks: &[eparch_governor::Check]| checks.iter().any(|check| !check.ok);
        let settled = |agent: &Agent, end: AttemptEnd| Some(agent.fate.clone().unwrap_or(end));
        match outcome {
            Outcome::Failed { in_phase: Phase::Execute, .. } => {
                self.fate.get_or_insert_with(failed);
            }
            Outcome::Failed { .. } => return settled(self, failed()),
            Outcome::Preflight { checks, .. } if bad_check(checks) || !all_looked_at(checks) => {
                return settled(self, failed());
            }
            Outcome::Plan { problem: Some(_), .. } => return settled(self, failed()),
            Outcome::Plan { actions, .. } if actions.is_empty() => return settled(self, failed()),
            Outcome::Plan { actions, .. } => {
                if self.fate.is_some() {
                    return self.fate.clone();
                }
                self.plans_staging = actions.iter().any(|entry| entry == "ansible_run staging-*");
                self.execute_by = Some(now.after(work.attempt_timeout.unwrap_or(work.timeout)));
                self.moved(work, now);
            }
            Outcome::Execute { ended, outputs, .. } => {
                let all = self.put_out(outputs);
                match ended {
                    Ended::Code { code: 0 } if all => {}
                    Ended::Killed => {
                        self.fate.get_or_insert(AttemptEnd::Cancelled { reason: String::new() });
                    }
                    Ended::Code { .. } | Ended::Signal { .. } => {
                        self.fate.get_or_insert_with(failed);
                    }
                }
            }
            Outcome::Verify { checks } if bad_check(checks) => {
                self.fate.get_or_insert_with(failed);
            }
            Outcome::Package { manifest } => self.package = Some(*manifest),
            Outcome::Report { package, .. } if self.package != Some(*package) => {
                self.goes_wrong();
                return settled(self, failed());
            }
            Outcome::Exit => return settled(self, AttemptEnd::Completed),
            Outcome::Bootstrap { .. }
            | Outcome::Preflight { .. }
            | Outcome::Verify { .. }
            | Outcome::Report { .. } => {}
        }
        self.behind += 1;
        if self.behind > EXECUTE {
            self.idle_by = None;
            if self.killed {
                self.must_go(now);
            }
        }
        None
    }

    /// So many outputs and no more; a name that is known gets another value. Whether all were taken: a program that left
    /// more has not done its work.
    fn put_out(&mut self, outputs: &BTreeMap<String, Value>) -> bool {
        for (name, value) in outputs {
            if self.outputs.contains_key(name) || self.outputs.len() < limits::STAGE_OUTPUTS {
                self.outputs.insert(name.clone(), value.clone());
            }
        }
        outputs.keys().all(|name| self.outputs.contains_key(name))
    }

    /// Something moved: the idle timeout begins anew, unless something is performed for it.
    fn moved(&mut self, work: &AgentWork, now: LedgerTime) {
        if !self.performing.is_empty() {
            return;
        }
        if self.questions.is_empty() {
            self.idle_by = work.idle_timeout.map(|idle| now.after(idle));
        } else {
            self.idle_left = work.idle_timeout;
        }
    }

    /// Its program was let go and has not ended.
    pub(super) fn executes(&self) -> bool {
        self.behind == EXECUTE
    }

    /// Its idle time does not pass.
    pub(super) fn stand_still(&mut self) {
        self.idle_by = None;
    }

    /// Nobody tells of what is performed for it any more: what was let go is unknown.
    fn words_of_the_end(&self) -> Vec<Word> {
        self.performing.iter().map(|(permit, let_go)| Word::Over(*permit, *let_go)).collect()
    }
}

impl Model {
    /// Where an agent works, while it lives.
    fn place_of(&self, id: AgentId) -> Option<(RunId, StageIx, AgentWork)> {
        let (run, ix, _) = self.agents().find(|(_, _, agent)| agent.id == id)?;
        match &self.runs[&run].pipeline.stage(ix).work {
            Work::Agent(work) => Some((run, ix, work.as_ref().clone())),
            _ => None,
        }
    }

    pub(super) fn agent(&mut self, id: AgentId) -> Option<&mut Agent> {
        self.agents_mut().find(|agent| agent.id == id)
    }

    pub(super) fn advanced(
        &mut self,
        id: AgentId,
        outcomes: &[Outcome],
        now: LedgerTime,
        hints: &mut Hints,
    ) -> Result<(), String> {
        let Some((run, ix, work)) = self.place_of(id) else { return Ok(()) };
        self.look_at_locks(id);
        for outcome in outcomes {
            let Some(agent) = self.agent(id).filter(|agent| !agent.cut_off) else { return Ok(()) };
            if place(outcome.phase()) != agent.behind {
                return Ok(());
            }
            if let Some(end) = agent.outcome(outcome, &work, now) {
                // Nothing has run before EXECUTE, and EXIT says that nothing lives. In between only a proof does (G6, G7).
                if agent.behind < EXECUTE || *outcome == Outcome::Exit {
                    return self.end_agent(run, ix, &end, now, hints);
                }
                if !agent.killed {
                    agent.kill(end, now);
                }
                agent.stands = true;
                self.hear_of(run, ix);
                return Ok(());
            }
            if let Outcome::Bootstrap { token, .. } = outcome {
                self.give_token(run, id, *token);
            }
        }
        Ok(())
    }

    fn end_agent(
        &mut self,
        run: RunId,
        ix: StageIx,
        end: &AttemptEnd,
        now: LedgerTime,
        hints: &mut Hints,
    ) -> Result<(), String> {
        self.hear_of(run, ix);
        let cell = self.cell(run, ix);
        let Doing::Agent(agent) = std::mem::replace(&mut cell.doing, Doing::Nothing) else { return Ok(()) };
        let words = agent.words_of_the_end();
        if *end == AttemptEnd::Completed {
            cell.outputs = agent.outputs;
        }
        self.said.extend(words);
        self.closed.extend(agent.questions.into_keys().map(|gate| (gate, false)));
        self.note_end(run, ix, end, agent.wrong);
        self.attempt_ended((run, ix), end, now, hints)
    }

    /// What the agent of a stage did wrong since is known of its standing now.
    pub(super) fn hear_of(&mut self, run: RunId, ix: StageIx) {
        let Doing::Agent(agent) = &mut self.cell(run, ix).doing else { return };
        for _ in 0..std::mem::take(&mut agent.unsaid) {
            self.note_wrong(run, ix);
        }
    }

    pub(super) fn signalled(
        &mut self,
        id: AgentId,
        signal: &Signal,
        now: LedgerTime,
        hints: &mut Hints,
    ) -> Result<BTreeSet<&'static str>, String> {
        let nothing = Ok(BTreeSet::new());
        let Some((run, ix, work)) = self.place_of(id) else { return nothing };
        let expired = self.has_expired(id);
        let Some(agent) = self.agent(id) else { return nothing };
        if agent.fate.is_some() || agent.cut_off || agent.behind != EXECUTE {
            return nothing;
        }
        if expired && *signal != Signal::Progress {
            return Ok(["EP0660"].into());
        }
        match signal {
            Signal::Heartbeat => {
                agent.pulse = Some(Pulse::default());
                self.lives = true;
            }
            Signal::Progress | Signal::Message { .. } => agent.moved(&work, now),
            Signal::Output { name, value } => {
                agent.put_out(&[(name.clone(), value.clone())].into());
                agent.moved(&work, now);
            }
            Signal::Error { code } => {
                *agent.errors.entry(code.clone()).or_default() += 1;
                // All of a run are counted together (X13).
                let of_run = self.runs.get_mut(&run).map(|run| &mut run.errors_at);
                let of_run = of_run.ok_or("an agent works in no run")?;
                of_run.push(now);
                let lately = of_run.iter().filter(|at| now.since(**at).millis() < 60_000).count();
                let Some(agent) = self.agent(id) else { return nothing };
                agent.revoke_if_over_budget(lately, now);
                let (lost, attempt) = (agent.is_revoked(), agent.id);
                self.hear_of(run, ix);
                if lost && lately >= 6 {
                    self.look_at(run, attempt, now, hints)?;
                }
            }
        }
        nothing
    }

    /// Something came of what it asked for, which is progress of its program.
    pub(super) fn moved_on(&mut self, id: AgentId) {
        let (now, Some((_, _, work))) = (self.now, self.place_of(id)) else { return };
        if let Some(agent) = self.agent(id).filter(|agent| agent.behind == EXECUTE) {
            agent.moved(&work, now);
        }
    }

    pub(super) fn calls_limited(&mut self, id: AgentId, now: LedgerTime) {
        let Some((run, ix, _)) = self.place_of(id) else { return };
        if let Some(agent) = self.agent(id) {
            agent.limit(now);
        }
        self.hear_of(run, ix);
    }

    pub(super) fn proven_dead(
        &mut self,
        id: AgentId,
        now: LedgerTime,
        hints: &mut Hints,
    ) -> Result<(), String> {
        let Some((run, ix, work)) = self.place_of(id) else { return Ok(()) };
        let Some(agent) = self.agent(id).filter(|agent| agent.cut_off || agent.stands || agent.in_vain > 0)
        else {
            return Ok(());
        };
        let (ran, fate) = (agent.execute_by.is_some(), agent.fate.clone());
        let words = agent.words_of_the_end();
        if let Some(end) = fate {
            return self.end_agent(run, ix, &end, now, hints);
        }
        self.said.extend(words);
        let ending = self.runs[&run].ending.map(|_| StageStatus::Cancelled);
        let cell = self.cell(run, ix);
        cell.interruptions += 1;
        cell.doing = Doing::Nothing;
        if let Some(status) = cell.given_up_as.or(ending) {
            self.end_stage(run, ix, status);
            return Ok(());
        }
        match (work.on_interrupt(), ran) {
            (OnInterrupt::Retry, _) | (_, false) => {
                self.ready_anew(run, ix);
                Ok(())
            }
            (OnInterrupt::Fail, true) => {
                self.end_stage(run, ix, StageStatus::Failed);
                Ok(())
            }
            (OnInterrupt::Ask, true) => self.open_interrupted_gate((run, ix), hints),
        }
    }
}
