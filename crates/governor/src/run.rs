//! One execution of a pipeline: which stage may start, what an ended stage means for the others, and when it is over.

use eparch_domain::{RunId, RunStatus, StageStatus};
use eparch_pipeline::{Fuel, OnFailure, Parent, StageIx, Work};

use crate::agent;
use crate::effect::Effect;
use crate::ending::cancel_inside;
use crate::fact::Fact;
use crate::gate;
use crate::governor::Turn;
use crate::graph::Graph;
use crate::scope;
use crate::state::Run;

/// Starts every stage of a list whose requirements are met.
pub(crate) fn start_list(turn: &mut Turn<'_>, run: RunId, list: &[StageIx]) {
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
        // It waits for a turn with work left.
        Work::Gate(_) | Work::Condition(_) if !turn.has_work_left() => {
            change(turn, run, ix, StageStatus::Ready)
        }
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
    let (scope, _) = scope::scope_for(live, [&work.condition].into_iter());
    let mut fuel = Fuel::default();
    let (full, answer) = (fuel.left(), work.condition.eval_bool_with(&scope, &mut fuel));
    let (seen, bytes) = scope::digest_of(&scope);
    turn.spend(full - fuel.left() + scope::EVALUATION + scope::cost_of(bytes));
    match answer {
        Err(problem) => {
            mark_nested(turn, run, ix, StageStatus::Skipped, "its branch was not taken");
            let reason = format!("its condition cannot be evaluated: {problem}");
            end_stage(turn, run, ix, StageStatus::Failed, &reason);
        }
        Ok(holds) => {
            turn.record(Fact::ConditionDecided { run, stage: ix, holds, scope: seen });
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
pub(crate) fn mark_nested(turn: &mut Turn<'_>, run: RunId, ix: StageIx, status: StageStatus, reason: &str) {
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

/// Ends the stage around a list, or the run, when nothing in the list is left to do. What it means for a parallel stage
/// that a stage in it has ended is looked at when everything else that follows has been done.
pub(crate) fn over_if_done(turn: &mut Turn<'_>, run: RunId, parent: Option<Parent>) {
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
    if let Some(parallel) = parallel_around(&graph, ix) {
        turn.branches.insert((run, parallel));
    }
    let mut everything = (0..graph.lists(ix)).flat_map(|list| graph.list(ix, list));
    if everything.all(|nested| live.stage(*nested).status.is_terminal()) {
        let (status, reason) = outcome_of(live, ix);
        end_stage(turn, run, ix, status, &reason);
    }
}

/// The parallel stage whose branch `ix` belongs to when it is one itself, or stands in conditions only: a condition has no
/// word of its own on failures.
fn parallel_around(graph: &Graph, ix: StageIx) -> Option<StageIx> {
    let stage = graph.pipeline.stage(ix);
    match (&stage.work, stage.parent) {
        (Work::Parallel(_), _) => Some(ix),
        (Work::Condition(_), Some(parent)) => parallel_around(graph, parent.stage),
        _ => None,
    }
}

/// What follows for the branches of a parallel stage when stages in it have ended: under `fail_fast` a failure cancels
/// whatever is left, in its own branch, too; otherwise the next branch may start.
pub(crate) fn look_at_branches(turn: &mut Turn<'_>, run: RunId, ix: StageIx) {
    let Some(live) = turn.governor.run(run) else { return };
    let graph = live.graph().clone();
    let Work::Parallel(work) = &graph.pipeline.stage(ix).work else { return };
    if live.stage(ix).status != StageStatus::Running || live.ending.is_some() {
        return;
    }
    let failed = |list: &u16| graph.list(ix, *list).iter().any(|nested| has_failed_within(live, *nested));
    match (0..graph.lists(ix)).find(failed) {
        Some(list) if work.on_failure == OnFailure::FailFast => {
            let branch = &work.branches[usize::from(list)].name;
            cancel_inside(turn, run, ix, &format!("branch {branch} failed"));
        }
        _ => start_next_branch(turn, run, ix, &graph, work.max_concurrency),
    }
}

/// How a stage made of others ends: badly when one of them did, cancelled when one was, well otherwise.
pub(crate) fn outcome_of(run: &Run, ix: StageIx) -> (StageStatus, String) {
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

/// Whether this stage has failed, or is a condition that is bound to: one in it has, and the rest of it still runs.
fn has_failed_within(run: &Run, ix: StageIx) -> bool {
    let graph = run.graph();
    let bound_to_fail = run.stage(ix).status == StageStatus::Running
        && matches!(graph.pipeline.stage(ix).work, Work::Condition(_))
        && (0..graph.lists(ix))
            .flat_map(|list| graph.list(ix, list))
            .any(|nested| has_failed_within(run, *nested));
    bound_to_fail || has_failed(run, ix)
}

/// Starts the next branch of a parallel stage that limits how many work at once, if fewer do. Whether one more may start
/// is looked at again when what follows from this one is done.
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
        turn.branches.insert((run, ix));
    }
}

/// Begins what has waited longest: a condition or gate that was put off, or a stage for which an agent is free. Whether
/// there was anything, and work left to begin it with.
pub(crate) fn begin_next(turn: &mut Turn<'_>) -> bool {
    let Some((run, ix)) = turn.governor.next_to_begin() else { return false };
    if !turn.has_work_left() {
        return false;
    }
    match turn.governor.run(run).map(|live| &live.graph().pipeline.stage(ix).work) {
        Some(Work::Agent(_)) => agent::begin(turn, run, ix),
        _ => start_stage(turn, run, ix),
    }
    true
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
