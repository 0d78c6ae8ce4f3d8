//! One execution of a pipeline: which stage may start, what an ended stage means for the others, and when it is over.

use eparch_domain::{Name, RunId, RunStatus, Span, StageStatus, limits};
use eparch_pipeline::{GateType, OnFailure, Parent, Runtime, StageIx, Work};

use crate::agent;
use crate::decision::{Answer, Refusal};
use crate::effect::Effect;
use crate::event::{AttemptEnd, RunRequest};
use crate::fact::{Fact, GateOutcome, RunSpawned};
use crate::gate;
use crate::governor::Turn;
use crate::graph::Graph;
use crate::operators;
use crate::scope;
use crate::state::{Doing, Run};
use crate::timers::Timer;

/// Runs alive at once in one tenant: what the governor keeps in memory is bounded by it.
const LIVE_RUNS: usize = 100_000;

/// Somebody asked for a run.
pub(crate) fn requested(turn: &mut Turn<'_>, request: &RunRequest) {
    match examine(turn, request) {
        Ok(spawned) => start(turn, request, spawned),
        Err(answer) => turn.decision.answer = answer,
    }
}

/// Whether the request may become a run, and which.
fn examine(turn: &mut Turn<'_>, request: &RunRequest) -> Result<RunSpawned, Answer> {
    let refused = |refusal| Err(Answer::Refused(refusal));
    let what = "start runs";
    let Some(operator) = operators::require(turn, &request.requester, what, |known| known.role.may_run())
    else {
        return Err(turn.decision.answer.clone());
    };
    let state = &turn.governor.state;
    let Some(graph) = turn.governor.definitions.get(&request.pipeline) else {
        return refused(Refusal::UnknownPipeline { pipeline: request.pipeline });
    };
    let plan = eparch_pipeline::plan_id(&request.pipeline, &request.inputs);
    if let Some((run, asked)) = request.idempotency_key.as_ref().and_then(|key| state.keys.get(key)) {
        return if *asked == plan {
            Err(Answer::Already { run: *run })
        } else {
            refused(Refusal::KeyReused { run: *run })
        };
    }
    if state.runs.contains_key(&request.run) || state.ended_runs.get(&request.run).is_some() {
        return refused(Refusal::RunExists { run: request.run });
    }
    if state.runs.len() >= LIVE_RUNS {
        return refused(Refusal::TooManyRuns { limit: LIVE_RUNS });
    }
    let grant = request.grant.unwrap_or(operator.max_tier);
    if grant > operator.max_tier {
        return refused(Refusal::GrantTooHigh { asked: grant, max: operator.max_tier });
    }
    for stage in &graph.pipeline.stages {
        match &stage.work {
            Work::Agent(work) if work.tier > grant => {
                return refused(Refusal::TierAboveGrant {
                    stage: stage.name.clone(),
                    tier: work.tier,
                    grant,
                });
            }
            Work::Agent(work) if work.runtime != Runtime::Process => {
                let runtime = if work.runtime == Runtime::Planner { "planner" } else { "council" };
                return refused(Refusal::RuntimeMissing {
                    stage: stage.name.clone(),
                    runtime: runtime.to_owned(),
                });
            }
            Work::Gate(work) if work.gate_type == GateType::Consensus => {
                return refused(Refusal::RuntimeMissing {
                    stage: stage.name.clone(),
                    runtime: "council".to_owned(),
                });
            }
            _ => {}
        }
    }
    if let Some(lineage) = &request.lineage {
        let unknown = lineage
            .kept
            .keys()
            .chain([&lineage.from])
            .find(|name| graph.pipeline.find(name.as_str()).is_none());
        if let Some(stage) = unknown {
            return refused(Refusal::UnknownStage { stage: stage.clone() });
        }
    }
    Ok(RunSpawned {
        run: request.run,
        pipeline: request.pipeline,
        plan,
        inputs: request.inputs.clone(),
        env: request.env.clone(),
        requester: request.requester.clone(),
        grant,
        root: request.root.clone(),
        idempotency_key: request.idempotency_key.clone(),
        repeats: request.lineage.as_ref().map(|lineage| (lineage.run, lineage.from.clone())),
        deadline: turn.now.ledger.after(graph.pipeline.timeout),
    })
}

fn start(turn: &mut Turn<'_>, request: &RunRequest, spawned: RunSpawned) {
    let run = spawned.run;
    turn.record(Fact::RunSpawned(Box::new(spawned)));
    turn.record(Fact::RunChanged { run, status: RunStatus::Running, reason: String::new() });
    let Some(graph) = turn.governor.run(run).map(|live| live.graph().clone()) else { return };
    if let Some(lineage) = &request.lineage {
        keep(turn, run, &graph, lineage);
    }
    start_list(turn, run, &graph.top);
    over_if_done(turn, run, None);
}

/// Marks what an earlier run completed, unless it is, or comes after, the stage to repeat from.
fn keep(turn: &mut Turn<'_>, run: RunId, graph: &Graph, lineage: &crate::event::Lineage) {
    let Some(from) = graph.pipeline.find(lineage.from.as_str()) else { return };
    let kept: Vec<StageIx> =
        graph.pipeline.places().filter(|ix| is_kept(graph, lineage, from, *ix)).collect();
    for stage in &kept {
        let left = lineage.kept[&graph.pipeline.stage(*stage).name].clone();
        turn.record(Fact::StageKept { run, stage: *stage, kept: left });
    }
    // What did not complete inside a stage that did, such as a branch that was not taken, is not begun now either.
    for stage in kept {
        mark_nested(turn, run, stage, StageStatus::Skipped, "what is around it was kept");
    }
}

/// Whether a stage completed earlier and stands neither after the stage to repeat from nor around it. A stage inside
/// another is kept with it or not at all: its list starts over otherwise.
fn is_kept(graph: &Graph, lineage: &crate::event::Lineage, from: StageIx, ix: StageIx) -> bool {
    let stage = graph.pipeline.stage(ix);
    lineage.kept.contains_key(&stage.name)
        && ix != from
        && !graph.is_around(ix, from)
        && !graph.before(ix).contains(&from)
        && stage.parent.is_none_or(|parent| is_kept(graph, lineage, from, parent.stage))
}

/// Starts every stage of a list whose requirements are met.
fn start_list(turn: &mut Turn<'_>, run: RunId, list: &[StageIx]) {
    for ix in list {
        start_if_ready(turn, run, *ix);
    }
}

/// Starts a pending stage when everything it requires has completed; skips it when something did not.
fn start_if_ready(turn: &mut Turn<'_>, run: RunId, ix: StageIx) {
    let Some(live) = turn.governor.run(run) else { return };
    if live.stage(ix).status != StageStatus::Pending || live.ending.is_some() {
        return;
    }
    let requires = &live.graph().pipeline.stage(ix).requires;
    let unmet = requires
        .iter()
        .find(|earlier| live.stage(**earlier).status.is_terminal() && !satisfies(live, **earlier));
    if let Some(unmet) = unmet {
        let (name, status) = (&live.graph().pipeline.stage(*unmet).name, live.stage(*unmet).status);
        let reason = format!("{name} ended {status}");
        return skip(turn, run, ix, &reason);
    }
    if requires.iter().all(|earlier| satisfies(live, *earlier)) {
        start_stage(turn, run, ix);
    }
}

/// Whether what requires this stage may start.
fn satisfies(run: &Run, ix: StageIx) -> bool {
    match run.stage(ix).status {
        StageStatus::Completed => true,
        StageStatus::Failed | StageStatus::TimedOut => goes_on_anyway(run, ix),
        _ => false,
    }
}

fn goes_on_anyway(run: &Run, ix: StageIx) -> bool {
    matches!(&run.graph().pipeline.stage(ix).work, Work::Agent(work) if work.continue_on_error)
}

fn start_stage(turn: &mut Turn<'_>, run: RunId, ix: StageIx) {
    let Some(graph) = turn.governor.run(run).map(|live| live.graph().clone()) else { return };
    match &graph.pipeline.stage(ix).work {
        Work::Agent(_) => change(turn, run, ix, StageStatus::Ready),
        Work::Gate(work) => gate::open_stage(turn, run, ix, work),
        Work::Parallel(work) => {
            change(turn, run, ix, StageStatus::Running);
            let at_once = work.max_concurrency.map_or(graph.lists(ix), |limit| limit.min(graph.lists(ix)));
            for list in 0..at_once {
                start_list(turn, run, graph.list(ix, list));
            }
            if (0..graph.lists(ix)).all(|list| graph.list(ix, list).is_empty()) {
                end_stage(turn, run, ix, StageStatus::Completed, "");
            }
        }
        Work::Condition(work) => choose(turn, run, ix, &graph, work),
    }
}

fn choose(
    turn: &mut Turn<'_>,
    run: RunId,
    ix: StageIx,
    graph: &Graph,
    work: &eparch_pipeline::ConditionWork,
) {
    let Some(live) = turn.governor.run(run) else { return };
    let scope = scope::scope_for(live, [&work.condition].into_iter());
    match work.condition.eval_bool(&scope) {
        Err(problem) => {
            mark_nested(turn, run, ix, StageStatus::Skipped, "its branch was not taken");
            let reason = format!("its condition cannot be evaluated: {problem}");
            end_stage(turn, run, ix, StageStatus::Failed, &reason);
        }
        Ok(holds) => {
            turn.record(Fact::ConditionDecided { run, stage: ix, holds, scope: scope::digest_of(&scope) });
            change(turn, run, ix, StageStatus::Running);
            let (taken, left) = if holds { (0, 1) } else { (1, 0) };
            for other in graph.list(ix, left) {
                skip(turn, run, *other, "its branch was not taken");
            }
            start_list(turn, run, graph.list(ix, taken));
            if graph.list(ix, taken).is_empty() {
                end_stage(turn, run, ix, StageStatus::Completed, "");
            }
        }
    }
}

fn change(turn: &mut Turn<'_>, run: RunId, ix: StageIx, status: StageStatus) {
    turn.record(Fact::StageChanged { run, stage: ix, status, reason: String::new() });
}

/// Ends a stage; its neighbours are told when the turn settles.
pub(crate) fn end_stage(turn: &mut Turn<'_>, run: RunId, ix: StageIx, status: StageStatus, reason: &str) {
    let reason = reason.to_owned();
    turn.record(Fact::StageChanged { run, stage: ix, status, reason });
    turn.over.push_back((run, ix));
}

/// Skips a stage and everything in it.
fn skip(turn: &mut Turn<'_>, run: RunId, ix: StageIx, reason: &str) {
    let pending = turn.governor.run(run).is_some_and(|live| live.stage(ix).status == StageStatus::Pending);
    if !pending {
        return;
    }
    mark_nested(turn, run, ix, StageStatus::Skipped, reason);
    end_stage(turn, run, ix, StageStatus::Skipped, reason);
}

/// Ends every stage inside `ix` that has not begun, without telling neighbours: they are all in the same place.
fn mark_nested(turn: &mut Turn<'_>, run: RunId, ix: StageIx, status: StageStatus, reason: &str) {
    let Some(graph) = turn.governor.run(run).map(|live| live.graph().clone()) else { return };
    for list in 0..graph.lists(ix) {
        for nested in graph.list(ix, list) {
            mark_nested(turn, run, *nested, status, reason);
            let pending =
                turn.governor.run(run).is_some_and(|live| live.stage(*nested).status == StageStatus::Pending);
            if pending {
                turn.record(Fact::StageChanged { run, stage: *nested, status, reason: reason.to_owned() });
            }
        }
    }
}

/// A stage ended: what requires it may start, the list around it may be over.
pub(crate) fn stage_over(turn: &mut Turn<'_>, run: RunId, ix: StageIx) {
    let Some(graph) = turn.governor.run(run).map(|live| live.graph().clone()) else { return };
    for dependent in &graph.dependents[ix.at()] {
        start_if_ready(turn, run, *dependent);
    }
    over_if_done(turn, run, graph.pipeline.stage(ix).parent);
}

/// Ends the stage around a list, or the run, when nothing in the list is left to do.
fn over_if_done(turn: &mut Turn<'_>, run: RunId, parent: Option<Parent>) {
    let Some(live) = turn.governor.run(run) else { return };
    let graph = live.graph().clone();
    let Some(parent) = parent else {
        if graph.top.iter().all(|ix| live.stage(*ix).status.is_terminal()) {
            finish(turn, run);
        }
        return;
    };
    let ix = parent.stage;
    if live.stage(ix).status != StageStatus::Running {
        return;
    }
    let list = graph.list(ix, parent.list);
    if !list.iter().all(|nested| live.stage(*nested).status.is_terminal()) {
        return;
    }
    let failed = list.iter().any(|nested| has_failed(live, *nested));
    let ending = live.ending.is_some();
    if let (Work::Parallel(work), false) = (&graph.pipeline.stage(ix).work, ending) {
        if failed && work.on_failure == OnFailure::FailFast {
            let branch = &work.branches[usize::from(parent.list)].name;
            cancel_inside(turn, run, ix, &format!("branch {branch} failed"));
        } else {
            start_next_branch(turn, run, ix, &graph, work.max_concurrency);
        }
    }
    let Some(live) = turn.governor.run(run) else { return };
    let mut everything = (0..graph.lists(ix)).flat_map(|list| graph.list(ix, list));
    if live.stage(ix).status == StageStatus::Running
        && everything.all(|nested| live.stage(*nested).status.is_terminal())
    {
        let (status, reason) = outcome_of(live, ix);
        end_stage(turn, run, ix, status, &reason);
    }
}

/// How a stage made of others ends: badly when one of them did, cancelled when one was, well otherwise.
fn outcome_of(run: &Run, ix: StageIx) -> (StageStatus, String) {
    let graph = run.graph();
    let nested = || (0..graph.lists(ix)).flat_map(|list| graph.list(ix, list)).copied();
    let cancelled = nested().any(|nested| run.stage(nested).status == StageStatus::Cancelled);
    let failed = nested()
        .find(|nested| has_failed(run, *nested) && run.stage(*nested).status != StageStatus::Cancelled);
    match failed {
        _ if run.ending.is_some() => (StageStatus::Cancelled, "the run is ending".to_owned()),
        Some(nested) => {
            let reason = format!("{} ended {}", graph.pipeline.stage(nested).name, run.stage(nested).status);
            (StageStatus::Failed, reason)
        }
        None if cancelled => (StageStatus::Cancelled, "a stage in it was cancelled".to_owned()),
        None => (StageStatus::Completed, String::new()),
    }
}

/// Whether the end of this stage is a failure of what is around it.
fn has_failed(run: &Run, ix: StageIx) -> bool {
    match run.stage(ix).status {
        StageStatus::Failed | StageStatus::TimedOut => !goes_on_anyway(run, ix),
        StageStatus::Cancelled => true,
        _ => false,
    }
}

/// Starts the next branch of a parallel stage that limits how many work at once, if fewer do. A branch may be found to
/// be over more than once, when several of its stages end in one turn.
fn start_next_branch(turn: &mut Turn<'_>, run: RunId, ix: StageIx, graph: &Graph, at_once: Option<u16>) {
    let Some(live) = turn.governor.run(run) else { return };
    let lists = || (0..graph.lists(ix)).map(|list| graph.list(ix, list));
    let waits = |stages: &&[StageIx]| {
        !stages.is_empty() && stages.iter().all(|nested| live.stage(*nested).status == StageStatus::Pending)
    };
    let at_work = lists().filter(|stages| {
        !waits(stages) && stages.iter().any(|nested| !live.stage(*nested).status.is_terminal())
    });
    let next = lists().find(waits);
    if let (true, Some(next)) = (at_work.count() < at_once.map_or(usize::MAX, usize::from), next) {
        start_list(turn, run, next);
    }
}

/// Gives a free agent to the stage that has waited longest; whether there was one to give.
pub(crate) fn start_next_queued(turn: &mut Turn<'_>) -> bool {
    let governor = &turn.governor;
    let limit = usize::try_from(governor.state.agents_at_once).unwrap_or(usize::MAX);
    if governor.agents.len() >= limit {
        return false;
    }
    let Some((_, (run, ix))) = governor.queue.first_key_value() else { return false };
    let (run, ix) = (*run, *ix);
    agent::begin(turn, run, ix);
    true
}

/// Somebody asked a run to end. Asking twice is the same as asking once.
pub(crate) fn stop(turn: &mut Turn<'_>, run: RunId, by: &Name, reason: &str) {
    if operators::require(turn, by, "stop runs", |known| known.role.may_run()).is_none() {
        return;
    }
    if turn.governor.run(run).is_none() {
        return match turn.governor.state.ended_runs.get(&run) {
            Some(RunStatus::Stopped) => turn.decision.answer = Answer::Already { run },
            Some(status) => turn.refuse(Refusal::RunEnded { run, status: *status }),
            None => turn.refuse(Refusal::UnknownRun { run }),
        };
    }
    let reason: String = reason.chars().take(limits::RATIONALE_BYTES).collect();
    end_run(turn, run, RunStatus::Stopped, &reason, Some(by.clone()));
}

/// Ends a run from outside: nothing new starts, everything live is cancelled, and the status is settled.
fn end_run(turn: &mut Turn<'_>, run: RunId, status: RunStatus, reason: &str, by: Option<Name>) {
    let Some(live) = turn.governor.run(run) else { return };
    if live.ending.is_some() {
        return;
    }
    let top = live.graph().top.clone();
    turn.record(Fact::RunEnding { run, status, reason: reason.to_owned(), by });
    for ix in &top {
        cancel(turn, run, *ix, reason);
    }
    over_if_done(turn, run, None);
}

/// Cancels everything inside a stage.
fn cancel_inside(turn: &mut Turn<'_>, run: RunId, ix: StageIx, reason: &str) {
    let Some(graph) = turn.governor.run(run).map(|live| live.graph().clone()) else { return };
    for list in 0..graph.lists(ix) {
        for nested in graph.list(ix, list) {
            cancel(turn, run, *nested, reason);
        }
    }
}

/// Cancels a stage: at once when nothing of it is alive, otherwise when its process tree is dead.
fn cancel(turn: &mut Turn<'_>, run: RunId, ix: StageIx, reason: &str) {
    let Some(live) = turn.governor.run(run) else { return };
    let state = live.stage(ix);
    if state.status.is_terminal() {
        return;
    }
    match &state.doing {
        Doing::Attempt(attempt) => {
            let agent = attempt.agent;
            agent::end(turn, agent, AttemptEnd::Cancelled { reason: reason.to_owned() });
        }
        Doing::Gate(open) => {
            let gate = open.opened.gate;
            turn.record(Fact::GateClosed { gate, outcome: GateOutcome::Cancelled });
            end_stage(turn, run, ix, StageStatus::Cancelled, reason);
        }
        Doing::Nothing if state.status == StageStatus::Running => {
            cancel_inside(turn, run, ix, reason);
            let Some(live) = turn.governor.run(run) else { return };
            let graph = live.graph().clone();
            let mut nested = (0..graph.lists(ix)).flat_map(|list| graph.list(ix, list));
            if nested.all(|nested| live.stage(*nested).status.is_terminal()) {
                // The same whether the last of it ends now or, being killed, later.
                let (status, why) = outcome_of(live, ix);
                let reason = if status == StageStatus::Cancelled { reason } else { &why };
                end_stage(turn, run, ix, status, reason);
            }
        }
        Doing::Nothing | Doing::Queued(_) | Doing::Backoff(_) => {
            mark_nested(turn, run, ix, StageStatus::Cancelled, reason);
            end_stage(turn, run, ix, StageStatus::Cancelled, reason);
        }
    }
}

/// Everything has ended: the run has, too.
fn finish(turn: &mut Turn<'_>, run: RunId) {
    let Some(live) = turn.governor.run(run) else { return };
    let failure = live.graph().top.iter().find(|ix| has_failed(live, **ix));
    let (status, reason) = match (&live.ending, failure) {
        (Some((status, reason)), _) => (*status, reason.clone()),
        (None, Some(ix)) => {
            let (name, state) = (&live.graph().pipeline.stage(*ix).name, live.stage(*ix));
            let why = if state.reason.is_empty() { String::new() } else { format!(": {}", state.reason) };
            (RunStatus::Failed, format!("{name} ended {}{why}", state.status))
        }
        (None, None) => (RunStatus::Completed, String::new()),
    };
    turn.record(Fact::RunChanged { run, status, reason });
    turn.ask(Effect::Seal { run });
}

/// A holder took the home: whatever was in flight is cut off, and its tree has to be proven dead.
pub(crate) fn booted(turn: &mut Turn<'_>, epoch: u64, agents_at_once: u32) {
    turn.record(Fact::EpochBegan { epoch, agents_at_once });
    let agents: Vec<_> = turn.governor.agents.keys().copied().collect();
    for agent in agents {
        let Some((_, _, attempt)) = turn.governor.attempt(agent) else { continue };
        let (tree, known) = (attempt.tree.clone(), attempt.cut_off);
        if !known {
            turn.record(Fact::AttemptCutOff { agent });
        }
        turn.ask(Effect::Reap { agent, tree });
    }
}

/// Time brought something.
pub(crate) fn timer_fired(turn: &mut Turn<'_>, timer: Timer) {
    // Every timer is cleared by the fact it leads to. One that led to none would fire for ever: it is cleared below.
    let before = turn.decision.facts.len();
    match timer {
        Timer::Run(run) => {
            let allowed = turn.governor.run(run).map_or(Span::ZERO, |live| live.graph().pipeline.timeout);
            end_run(
                turn,
                run,
                RunStatus::Timeout,
                &format!("the pipeline timeout of {allowed} passed"),
                None,
            );
        }
        Timer::Stage(run, ix) => stage_timed_out(turn, run, ix),
        Timer::Retry(run, ix) => {
            if turn.governor.run(run).is_some_and(|live| matches!(live.stage(ix).doing, Doing::Backoff(_))) {
                turn.record(Fact::BackoffOver { run, stage: ix });
            }
        }
        Timer::Start(agent) => {
            let allowed =
                agent::work_of(turn, agent).map_or(limits::START_TIMEOUT, |work| work.start_timeout);
            agent::end(turn, agent, AttemptEnd::TimedOut { limit: "start".to_owned(), allowed });
        }
        Timer::Execute(agent) => {
            let allowed = agent::work_of(turn, agent)
                .map_or(Span::ZERO, |work| work.attempt_timeout.unwrap_or(work.timeout));
            agent::end(turn, agent, AttemptEnd::TimedOut { limit: "attempt".to_owned(), allowed });
        }
        Timer::Idle(agent) => {
            let allowed = agent::work_of(turn, agent).and_then(|work| work.idle_timeout).unwrap_or_default();
            agent::end(turn, agent, AttemptEnd::TimedOut { limit: "idle".to_owned(), allowed });
        }
        Timer::Gate(gate) => gate::timed_out(turn, gate),
    }
    if turn.decision.facts.len() == before {
        turn.governor.timers.clear(timer);
    }
}

/// A stage has taken too long, all attempts together: it is not tried again.
fn stage_timed_out(turn: &mut Turn<'_>, run: RunId, ix: StageIx) {
    let Some(live) = turn.governor.run(run) else { return };
    let allowed = match &live.graph().pipeline.stage(ix).work {
        Work::Agent(work) => work.timeout,
        _ => Span::ZERO,
    };
    turn.record(Fact::StageExpired { run, stage: ix });
    let Some(live) = turn.governor.run(run) else { return };
    let end = AttemptEnd::TimedOut { limit: "stage".to_owned(), allowed };
    match &live.stage(ix).doing {
        Doing::Attempt(attempt) => {
            let agent = attempt.agent;
            agent::end(turn, agent, end);
        }
        Doing::Queued(_) | Doing::Backoff(_) => {
            end_stage(turn, run, ix, StageStatus::TimedOut, &end.reason())
        }
        Doing::Gate(open) => {
            let gate = open.opened.gate;
            turn.record(Fact::GateClosed { gate, outcome: GateOutcome::TimedOut });
            end_stage(turn, run, ix, StageStatus::TimedOut, &end.reason());
        }
        Doing::Nothing => {}
    }
}
