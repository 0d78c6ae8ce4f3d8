//! Asking for a run: whether it may be one, and what it begins with.

use eparch_domain::{RunId, RunStatus, StageStatus, limits};
use eparch_pipeline::{GateType, Runtime, StageIx, Work};

use crate::decision::{Answer, Refusal};
use crate::event::{Lineage, RunRequest};
use crate::fact::{Fact, RunSpawned};
use crate::governor::Turn;
use crate::graph::Graph;
use crate::operators;
use crate::run::{mark_nested, over_if_done, start_list};

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
    let plan = eparch_pipeline::plan_id(&request.pipeline, &request.inputs, &request.env);
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
    let grant = request.grant.unwrap_or(operator.max_tier.min(limits::GRANT_UNASKED));
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
fn keep(turn: &mut Turn<'_>, run: RunId, graph: &Graph, lineage: &Lineage) {
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
fn is_kept(graph: &Graph, lineage: &Lineage, from: StageIx, ix: StageIx) -> bool {
    let stage = graph.pipeline.stage(ix);
    lineage.kept.contains_key(&stage.name)
        && ix != from
        && !graph.is_around(ix, from)
        && !graph.before(ix).contains(&from)
        && stage.parent.is_none_or(|parent| is_kept(graph, lineage, from, parent.stage))
}
