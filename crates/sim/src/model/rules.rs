//! When stages start and end: rules, applied to everything until nothing changes.

use eparch_domain::{LedgerTime, RunId, RunStatus, StageStatus, limits};
use eparch_governor::{AttemptEnd, GatePurpose, LockLoss};
use eparch_pipeline::{OnFailure, OnTimeout, Parent, StageIx, Work};

use super::agent::Agent;
use super::{Doing, Due, Hints, Model, Run};
use crate::score::Question;

impl Run {
    /// The lists of a stage.
    pub(super) fn lists(&self, ix: StageIx) -> Vec<Vec<StageIx>> {
        match &self.pipeline.stage(ix).work {
            Work::Parallel(work) => work.branches.iter().map(|branch| branch.stages.clone()).collect(),
            Work::Condition(work) => vec![work.then.clone(), work.otherwise.clone()],
            Work::Agent(_) | Work::Gate(_) => Vec::new(),
        }
    }

    pub(super) fn status(&self, ix: StageIx) -> StageStatus {
        self.cells[ix.at()].status
    }

    fn is_forgiven(&self, ix: StageIx) -> bool {
        let forgiving = matches!(&self.pipeline.stage(ix).work, Work::Agent(work) if work.continue_on_error);
        forgiving && matches!(self.status(ix), StageStatus::Failed | StageStatus::TimedOut)
    }

    /// Whether what requires the stage may start.
    fn is_well(&self, ix: StageIx) -> bool {
        self.status(ix) == StageStatus::Completed || self.is_forgiven(ix)
    }

    /// Whether the stage's end is a failure of what is around it.
    fn is_bad(&self, ix: StageIx) -> bool {
        let bad =
            matches!(self.status(ix), StageStatus::Failed | StageStatus::TimedOut | StageStatus::Cancelled);
        bad && !self.is_forgiven(ix)
    }

    /// Whether the stage's end will be a failure, as a condition's will in which one stage has failed.
    fn is_bound_to_be_bad(&self, ix: StageIx) -> bool {
        let runs = self.status(ix) == StageStatus::Running;
        let condition = matches!(self.pipeline.stage(ix).work, Work::Condition(_));
        let inside = self.lists(ix).into_iter().flatten();
        self.is_bad(ix)
            || (runs && condition && inside.into_iter().any(|inner| self.is_bound_to_be_bad(inner)))
    }

    fn all_ended(&self, list: &[StageIx]) -> bool {
        list.iter().all(|ix| self.status(*ix).is_terminal())
    }

    fn may_begin(&self, parent: Option<Parent>) -> bool {
        parent.is_none_or(|parent| {
            let around = &self.cells[parent.stage.at()];
            around.status == StageStatus::Running && around.begun.contains(&parent.list) && !around.given_up
        })
    }
}

fn list_number(at: usize) -> u16 {
    u16::try_from(at).expect("a few branches")
}

impl Model {
    /// Applies every rule to every run, and gives free agents out, until nothing changes.
    pub(super) fn settle(&mut self, now: LedgerTime, hints: &mut Hints) -> Result<(), String> {
        loop {
            self.change(now, hints)?;
            if !self.give_agent(now, hints)? {
                return Ok(());
            }
        }
    }

    /// Applies every rule to every run until nothing changes.
    pub(super) fn change(&mut self, now: LedgerTime, hints: &mut Hints) -> Result<(), String> {
        for run in self.runs.keys().copied().collect::<Vec<_>>() {
            while self.change_run(run, now, hints)? {}
        }
        Ok(())
    }

    /// Applies the first rule that applies.
    fn change_run(&mut self, id: RunId, now: LedgerTime, hints: &mut Hints) -> Result<bool, String> {
        let Some(run) = self.runs.get(&id) else { return Ok(false) };
        let places: Vec<StageIx> = run.pipeline.places().collect();
        for ix in places {
            if self.change_stage(id, ix, now, hints)? {
                return Ok(true);
            }
        }
        // What a stage's end means for other branches comes after all that it means in its own.
        let Some(run) = self.runs.get(&id) else { return Ok(false) };
        let places: Vec<StageIx> = run.pipeline.places().collect();
        if places.into_iter().any(|ix| self.change_branches(id, ix)) {
            return Ok(true);
        }
        let Some(run) = self.runs.get(&id) else { return Ok(false) };
        let top: Vec<StageIx> = run.pipeline.top().collect();
        if !run.all_ended(&top) {
            return Ok(false);
        }
        let failed = top.iter().any(|ix| run.is_bad(*ix));
        let status = run.ending.unwrap_or(if failed { RunStatus::Failed } else { RunStatus::Completed });
        let stages = run.cells.iter().map(|cell| cell.status).collect();
        self.runs.remove(&id);
        self.ended.insert(id, status);
        self.just_ended.push((id, stages));
        Ok(true)
    }

    fn change_stage(
        &mut self,
        id: RunId,
        ix: StageIx,
        now: LedgerTime,
        hints: &mut Hints,
    ) -> Result<bool, String> {
        let run = &self.runs[&id];
        let stage = run.pipeline.stage(ix);
        match run.status(ix) {
            StageStatus::Pending if run.ending.is_none() && run.may_begin(stage.parent) => {
                let requires = &stage.requires;
                if requires.iter().any(|earlier| run.status(*earlier).is_terminal() && !run.is_well(*earlier))
                {
                    self.set_pending(id, ix, StageStatus::Skipped);
                    return Ok(true);
                }
                if requires.iter().all(|earlier| run.is_well(*earlier)) {
                    self.start_stage(id, ix, now, hints)?;
                    return Ok(true);
                }
                Ok(false)
            }
            StageStatus::Running if !run.lists(ix).is_empty() || matches!(stage.work, Work::Parallel(_)) => {
                Ok(self.end_container(id, ix))
            }
            _ => Ok(false),
        }
    }

    /// A parallel stage that runs: gives up whatever is left when one stage in it has failed, or begins a branch.
    fn change_branches(&mut self, id: RunId, ix: StageIx) -> bool {
        let run = &self.runs[&id];
        let (lists, cell) = (run.lists(ix), &run.cells[ix.at()]);
        let Work::Parallel(work) = &run.pipeline.stage(ix).work else { return false };
        if cell.status != StageStatus::Running || cell.given_up || run.ending.is_some() {
            return false;
        }
        let has_failed = lists.iter().flatten().any(|inner| run.is_bound_to_be_bad(*inner));
        if work.on_failure == OnFailure::FailFast && has_failed {
            self.cell(id, ix).given_up = true;
            for inner in lists.into_iter().flatten() {
                self.cancel(id, inner);
            }
            return true;
        }
        let at_work = (0..lists.len())
            .filter(|at| cell.begun.contains(&list_number(*at)) && !run.all_ended(&lists[*at]));
        let at_once = work.max_concurrency.map_or(usize::MAX, usize::from);
        let next = (0..lists.len()).find(|at| !cell.begun.contains(&list_number(*at)));
        if let (true, Some(next)) = (at_work.count() < at_once, next) {
            self.cell(id, ix).begun.insert(list_number(next));
            return true;
        }
        false
    }

    /// A parallel or condition stage that runs ends when everything in it has.
    fn end_container(&mut self, id: RunId, ix: StageIx) -> bool {
        let run = &self.runs[&id];
        let inside: Vec<StageIx> = run.lists(ix).into_iter().flatten().collect();
        if !run.all_ended(&inside) {
            return false;
        }
        let status = if run.ending.is_some() {
            StageStatus::Cancelled
        } else if inside
            .iter()
            .any(|inner| run.is_bad(*inner) && run.status(*inner) != StageStatus::Cancelled)
        {
            StageStatus::Failed
        } else if inside.iter().any(|inner| run.status(*inner) == StageStatus::Cancelled) {
            StageStatus::Cancelled
        } else {
            StageStatus::Completed
        };
        self.end_stage(id, ix, status);
        true
    }

    fn start_stage(
        &mut self,
        id: RunId,
        ix: StageIx,
        now: LedgerTime,
        hints: &mut Hints,
    ) -> Result<(), String> {
        let turn = self.turn;
        let run = &self.runs[&id];
        match &run.pipeline.stage(ix).work {
            Work::Agent(work) => {
                let until = now.after(work.timeout);
                let cell = self.cell(id, ix);
                (cell.status, cell.doing, cell.until) =
                    (StageStatus::Ready, Doing::Queued(turn), Some(until));
            }
            Work::Gate(work) => {
                let work = work.clone();
                self.open_stage_gate((id, ix), &work, hints)?;
            }
            Work::Parallel(work) => {
                let at_once = work.max_concurrency.map_or(usize::MAX, usize::from);
                let begun = (0..work.branches.len().min(at_once)).map(list_number).collect();
                let cell = self.cell(id, ix);
                (cell.status, cell.begun) = (StageStatus::Running, begun);
            }
            Work::Condition(work) => {
                let (then, otherwise) = (work.then.clone(), work.otherwise.clone());
                let answer = self.ask(id, ix);
                self.cell(id, ix).status = StageStatus::Running;
                let left = match answer {
                    Some(true) => otherwise,
                    Some(false) => then,
                    None => then.into_iter().chain(otherwise).collect(),
                };
                for inner in left {
                    self.set_pending(id, inner, StageStatus::Skipped);
                }
                match answer {
                    Some(holds) => {
                        self.cell(id, ix).begun.insert(u16::from(!holds));
                    }
                    None => self.end_stage(id, ix, StageStatus::Failed),
                }
            }
        }
        Ok(())
    }

    /// The answer to a condition's question; `None` when there is none.
    fn ask(&self, id: RunId, ix: StageIx) -> Option<bool> {
        let run = &self.runs[&id];
        let find = |name: &eparch_domain::Name| run.pipeline.find(name.as_str());
        match &run.score.questions[&ix] {
            Question::Fixed(answer) => Some(*answer),
            Question::Input => Some(run.go),
            Question::Above(stage) => run.cells[find(stage)?.at()].outputs.get("n")?.as_i64().map(|n| n > 2),
            Question::Status(stage, status) => Some(run.status(find(stage)?) == *status),
        }
    }

    /// Ends a stage that has not begun, and everything in it that has not.
    pub(super) fn set_pending(&mut self, id: RunId, ix: StageIx, status: StageStatus) {
        for inner in self.runs[&id].lists(ix).into_iter().flatten() {
            self.set_pending(id, inner, status);
        }
        if self.cell(id, ix).status == StageStatus::Pending {
            self.cell(id, ix).status = status;
        }
    }

    pub(super) fn end_stage(&mut self, id: RunId, ix: StageIx, status: StageStatus) {
        let cell = self.cell(id, ix);
        (cell.status, cell.doing, cell.until, cell.given_up_as) = (status, Doing::Nothing, None, None);
    }

    /// Ends a stage because something around it is given up: at once where nothing lives.
    pub(super) fn cancel(&mut self, id: RunId, ix: StageIx) {
        let now = self.now;
        let cell = self.cell(id, ix);
        match (&mut cell.doing, cell.status) {
            (_, status) if status.is_terminal() => {}
            (_, StageStatus::Pending) => self.set_pending(id, ix, StageStatus::Cancelled),
            (Doing::Agent(agent), _) if agent.cut_off || agent.is_stalled() => {
                cell.given_up_as.get_or_insert(StageStatus::Cancelled);
            }
            (Doing::Agent(agent), _) => agent.cancel(now),
            (Doing::Gate(gate), _) => {
                let gate = gate.opened.gate;
                self.closed.insert(gate, false);
                self.end_stage(id, ix, StageStatus::Cancelled);
            }
            (Doing::Nothing, StageStatus::Running) => {
                cell.given_up = true;
                for inner in self.runs[&id].lists(ix).into_iter().flatten() {
                    self.cancel(id, inner);
                }
            }
            _ => self.end_stage(id, ix, StageStatus::Cancelled),
        }
    }

    /// Ends a run from outside.
    pub(super) fn end_run(&mut self, id: RunId, status: RunStatus) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.ending.is_some() {
            return;
        }
        run.ending = Some(status);
        for ix in run.pipeline.clone().top() {
            self.cancel(id, ix);
        }
    }

    /// Gives a free agent to a stage that waits. Which of several that became ready in one turn, the decision tells.
    fn give_agent(&mut self, now: LedgerTime, hints: &mut Hints) -> Result<bool, String> {
        let waiting: Vec<(RunId, StageIx, u64)> = self
            .cells()
            .filter_map(|(run, ix, cell)| match cell.doing {
                Doing::Queued(since) if self.can_have_locks(run, ix) => Some((run, ix, since)),
                _ => None,
            })
            .collect();
        if self.agents().count() >= self.at_once || waiting.is_empty() || self.is_doubted() || self.stopped {
            return Ok(false);
        }
        let Some((run, ix, id)) = hints.begun.pop_front() else {
            return Err(format!("an agent is free and none of {waiting:?} began"));
        };
        let Some((_, _, since)) = waiting.iter().find(|(of, at, _)| (*of, *at) == (run, ix)) else {
            return Err(format!("stage s{} of {run} began and does not wait", ix.0));
        };
        if waiting.iter().any(|(_, _, other)| other < since) {
            return Err(format!("stage s{} of {run} did not wait its turn", ix.0));
        }
        let Work::Agent(work) = &self.runs[&run].pipeline.stage(ix).work else {
            return Err(format!("stage s{} of {run} is no agent's", ix.0));
        };
        let mut agent = Agent::begun(id, work.tier, now.after(work.start_timeout));
        agent.right = self.right_to_locks(run, ix);
        let cell = self.cell(run, ix);
        cell.attempts += 1;
        (cell.status, cell.doing) = (StageStatus::Running, Doing::Agent(Box::new(agent)));
        self.lease_for(run);
        Ok(true)
    }

    /// A deadline has come.
    pub(super) fn time_came(&mut self, due: Due, now: LedgerTime, hints: &mut Hints) -> Result<(), String> {
        match due {
            Due::Run(run) => self.end_run(run, RunStatus::Timeout),
            Due::Stage(run, ix) => {
                let cell = self.cell(run, ix);
                (cell.until, cell.expired) = (None, true);
                match &mut cell.doing {
                    Doing::Agent(agent) => agent.time_out("stage", now),
                    Doing::Queued(_) | Doing::Backoff(_) => self.end_stage(run, ix, StageStatus::TimedOut),
                    Doing::Nothing | Doing::Gate(_) => {
                        return Err("a stage without anything to do has a deadline".to_owned());
                    }
                }
            }
            Due::Retry(run, ix) => {
                let turn = self.turn;
                self.cell(run, ix).doing = Doing::Queued(turn);
            }
            Due::Idle(id) => {
                let place = self.agents().find(|(_, _, agent)| agent.id == id).map(|(run, ix, _)| (run, ix));
                let Some((run, ix)) = place else { return Ok(()) };
                if let Doing::Agent(agent) = &mut self.cell(run, ix).doing {
                    agent.stall(now);
                }
                self.hear_of(run, ix);
            }
            Due::Heartbeat(id) => {
                if let Some(pulse) = self.agent(id).and_then(|agent| agent.pulse.as_mut()) {
                    pulse.is_found();
                }
                self.silent.push(id);
            }
            Due::Start(id) | Due::Execute(id) => {
                if let Some(agent) = self.agents_mut().find(|agent| agent.id == id) {
                    agent.time_out("attempt", now);
                }
            }
            Due::Gone(id) => {
                if let Some(agent) = self.agents_mut().find(|agent| agent.id == id) {
                    agent.ask_again(now);
                }
            }
            Due::Lease(run) => self.renew_lease(run),
            Due::Token(id) => self.renew_token(id),
            Due::Lock(id) => self.renew_locks(id),
            Due::Clock => self.clock_looked_at(),
            Due::Glass(grant) => self.glass_over(grant),
            Due::Gate(id) => {
                if let Some(agent) = self.asker(id) {
                    self.nobody_answered(agent, id);
                    return Ok(());
                }
                let Some((run, ix, gate)) = self.gates().find(|(_, _, gate)| gate.opened.gate == id) else {
                    return Ok(());
                };
                let (purpose, skips) = (gate.opened.purpose, self.skips_on_timeout(run, ix));
                self.closed.insert(id, true);
                let status = match purpose {
                    GatePurpose::Action => return Err(format!("{id} is a question of nobody")),
                    GatePurpose::Interrupted => StageStatus::Failed,
                    GatePurpose::Stage if skips => StageStatus::Skipped,
                    GatePurpose::Stage => StageStatus::TimedOut,
                };
                self.end_stage(run, ix, status);
            }
        }
        let _ = hints;
        Ok(())
    }

    fn skips_on_timeout(&self, run: RunId, ix: StageIx) -> bool {
        matches!(&self.runs[&run].pipeline.stage(ix).work, Work::Gate(work) if work.on_timeout == OnTimeout::Skip)
    }

    /// An attempt has ended: the stage with it, unless it is tried again.
    pub(super) fn attempt_ended(
        &mut self,
        (run, ix): (RunId, StageIx),
        end: &AttemptEnd,
        now: LedgerTime,
        hints: &mut Hints,
    ) -> Result<(), String> {
        let ending = self.runs[&run].ending.is_some();
        if let Some(status) = self.cell(run, ix).given_up_as {
            self.end_stage(run, ix, status);
            return Ok(());
        }
        let Work::Agent(work) = &self.runs[&run].pipeline.stage(ix).work else { return Ok(()) };
        let (retries, timeout) = (work.retries, work.timeout);
        let cell = self.cell(run, ix);
        let failures = cell.attempts - cell.interruptions;
        // What somebody took away is not taken again.
        let fails = match end {
            AttemptEnd::Failed { .. } | AttemptEnd::TimedOut { .. } | AttemptEnd::Stalled { .. } => true,
            AttemptEnd::LockLost { because, .. } => *because == LockLoss::Expired,
            _ => false,
        };
        if fails && !cell.expired && !ending && failures <= retries.max {
            let Some(at) = hints.retries.remove(&(run, ix)) else {
                return Err(format!("stage s{} of {run} is not tried again", ix.0));
            };
            let least = (retries.backoff.millis() << (failures - 1)).min(limits::RETRY_BACKOFF_MAX.millis());
            let wait = at.since(now).millis();
            let until = cell.until.unwrap_or(now.after(timeout));
            if wait < least || wait > least + least / 4 {
                return Err(format!("a retry waits {wait} ms, expected {least} ms and up to a quarter more"));
            }
            (cell.status, cell.doing, cell.until) = (StageStatus::Ready, Doing::Backoff(at), Some(until));
            return Ok(());
        }
        let status = match end {
            AttemptEnd::Completed => StageStatus::Completed,
            _ if ending => StageStatus::Cancelled,
            AttemptEnd::TimedOut { .. } | AttemptEnd::Stalled { .. } => StageStatus::TimedOut,
            AttemptEnd::Cancelled { .. } => StageStatus::Cancelled,
            AttemptEnd::Failed { .. }
            | AttemptEnd::Revoked { .. }
            | AttemptEnd::LockLost { .. }
            | AttemptEnd::Interrupted { .. } => StageStatus::Failed,
        };
        self.end_stage(run, ix, status);
        Ok(())
    }
}
