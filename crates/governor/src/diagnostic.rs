//! Looking at what went wrong: a run that nobody asked for, begun when an agent makes too many errors in a minute (R080, R089).
//! It is begun in the very entry that takes the agent's authority away, so that no crash comes between; it works at T0, where
//! every standing begins, and no person vouches for it (X35).

use std::collections::BTreeMap;

use eparch_domain::{AgentId, Digest, RunId, Tier, limits};
use serde_json::Value;

use crate::decision::Refusal;
use crate::fact::{Fact, RunSpawned, SpawnedBy};
use crate::governor::Turn;
use crate::request::{begin, cannot_carry_out};

/// The pipeline that looks at what went wrong is another one from now on; the same once more changes nothing.
pub(crate) fn offered(turn: &mut Turn<'_>, pipeline: Digest) {
    let Some(graph) = turn.governor.definitions.get(&pipeline) else {
        return turn.refuse(Refusal::UnknownPipeline { pipeline });
    };
    if let Some(refusal) = cannot_carry_out(&graph.pipeline, Tier::T0) {
        return turn.refuse(refusal);
    }
    if turn.governor.state.diagnostic != Some(pipeline) {
        turn.record(Fact::DiagnosticKnown { pipeline });
    }
}

/// An agent made more errors in a minute than it may: its run is looked at, once, unless it looks at another one itself.
pub(crate) fn begin_for(turn: &mut Turn<'_>, agent: AgentId, reason: &str) {
    let Some((run, ix, _)) = turn.governor.attempt(agent) else { return };
    let (Some(live), Some(pipeline)) = (turn.governor.run(run), turn.governor.state.diagnostic) else {
        return;
    };
    if live.diagnosed || live.spawned.parent.is_some() {
        return;
    }
    let parent = SpawnedBy { run, agent, reason: reason.to_owned() };
    let (stage, attempt) = (&live.graph().pipeline.stage(ix).name, live.stage(ix).attempts);
    let told: [(&str, Value); 5] = [
        ("run", run.to_string().into()),
        ("agent", agent.to_string().into()),
        ("stage", stage.as_str().into()),
        ("attempt", attempt.into()),
        ("reason", reason.into()),
    ];
    match spawned(turn, pipeline, parent, told) {
        Ok(spawned) => begin(turn, spawned, None),
        Err(reason) => turn.record(Fact::DiagnosisSkipped { run, agent, reason }),
    }
}

/// The run that looks, or why there is none.
fn spawned(
    turn: &Turn<'_>,
    pipeline: Digest,
    parent: SpawnedBy,
    told: [(&str, Value); 5],
) -> Result<RunSpawned, String> {
    let (governor, of) = (&turn.governor, parent.run);
    let live = governor.run(of).ok_or("its run has ended")?;
    let graph = governor.definitions.get(&pipeline).ok_or("the definition is not at hand")?;
    let looking = governor.state.runs.values().filter(|run| run.spawned.parent.is_some()).count();
    if looking >= limits::DIAGNOSTICS_AT_ONCE {
        return Err(format!("{looking} runs are looked at already"));
    }
    if governor.state.runs.len() >= limits::LIVE_RUNS {
        return Err(format!("{} runs are alive already", limits::LIVE_RUNS));
    }
    let run = id_for(of);
    if governor.run(run).is_some() || governor.state.ended_runs.get(&run).is_some() {
        return Err("its id is taken".to_owned());
    }
    // A pipeline of the home's own declares what it wants to be told.
    let wanted = told.into_iter().filter(|(name, _)| graph.pipeline.inputs.contains_key(*name));
    let given: BTreeMap<String, Value> = wanted.map(|(name, value)| (name.to_owned(), value)).collect();
    let inputs = graph.pipeline.bind_json(&given).map_err(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!("its inputs do not fit: {}", all.join("; "))
    })?;
    let env = BTreeMap::new();
    Ok(RunSpawned {
        run,
        pipeline,
        plan: eparch_pipeline::plan_id(&pipeline, &inputs, &env),
        inputs,
        env,
        // Whoever asked for what is looked at answers for it, too; they vouch for nothing in it.
        requester: live.spawned.requester.clone(),
        grant: Tier::T0,
        root: live.spawned.root.clone(),
        idempotency_key: None,
        asked: None,
        repeats: None,
        parent: Some(parent),
        deadline: turn.now.ledger.after(graph.pipeline.timeout),
    })
}

/// The run that looks at another one: there is one, whoever works it out, however often.
fn id_for(run: RunId) -> RunId {
    RunId::derived(&Digest::of_parts(&[b"diagnostic", &run.bits().to_be_bytes()]))
}
