//! Asking for a run: whether it may be one, and what it begins with.

use eparch_domain::{Digest, InOrder, RunStatus, Tier, limits};
use eparch_pipeline::{GateType, Pipeline, Runtime, Stage, Work};

use crate::break_glass;
use crate::decision::{Answer, Refusal};
use crate::event::{Lineage, RunRequest};
use crate::fact::{Fact, RunSpawned};
use crate::governor::Turn;
use crate::kept::keep;
use crate::operators;
use crate::people::{self, Wish};
use crate::run::{over_if_done, start_list};
use crate::stop_all;
use crate::written;

/// Somebody asked for a run.
pub(crate) fn requested(turn: &mut Turn<'_>, request: &RunRequest) {
    match examine(turn, request) {
        Ok(spawned) => begin(turn, spawned, request.lineage.as_ref()),
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
    if let Some(refusal) = too_large(request) {
        return refused(refusal);
    }
    let state = &turn.governor.state;
    let Some(graph) = turn.governor.definitions.get(&request.pipeline) else {
        return refused(Refusal::UnknownPipeline { pipeline: request.pipeline });
    };
    let asked = request.idempotency_key.as_ref().map(|_| digest_of(request));
    if let Some((run, earlier)) = request.idempotency_key.as_ref().and_then(|key| state.request(key)) {
        return if asked == Some(earlier) {
            Err(Answer::Already { run })
        } else {
            refused(Refusal::KeyReused { run })
        };
    }
    if let Some(stopped) = stop_all::refusal(turn.governor) {
        return refused(stopped);
    }
    if state.runs.contains_key(&request.run) || state.ended_runs.get(&request.run).is_some() {
        return refused(Refusal::RunExists { run: request.run });
    }
    if state.runs.len() >= limits::LIVE_RUNS {
        return refused(Refusal::TooManyRuns { limit: limits::LIVE_RUNS });
    }
    let grant = request.grant.unwrap_or(operator.max_tier.min(limits::GRANT_UNASKED));
    if grant > operator.max_tier {
        return refused(Refusal::GrantTooHigh { asked: grant, max: operator.max_tier });
    }
    if let Some(refusal) = cannot_carry_out(&graph.pipeline, grant) {
        return refused(refusal);
    }
    if let Some(lineage) = &request.lineage {
        let unknown = lineage
            .kept
            .keys()
            .chain(lineage.forgiven.keys())
            .chain([&lineage.from])
            .find(|name| graph.pipeline.find(name.as_str()).is_none());
        if let Some(stage) = unknown {
            return refused(Refusal::UnknownStage { stage: stage.clone() });
        }
    }
    let wish = Wish::run(&graph.pipeline.name, grant);
    if let Some(refusal) = people::refusal(turn.governor, &operator, &wish) {
        return refused(refusal);
    }
    Ok(RunSpawned {
        run: request.run,
        pipeline: request.pipeline,
        plan: eparch_pipeline::plan_id(&request.pipeline, &request.inputs, &request.env),
        inputs: request.inputs.clone(),
        env: request.env.clone(),
        requester: request.requester.clone(),
        grant,
        root: request.root.clone(),
        idempotency_key: request.idempotency_key.clone(),
        asked,
        repeats: request.lineage.as_ref().map(|lineage| (lineage.run, lineage.from.clone())),
        parent: None,
        deadline: turn.now.ledger.after(graph.pipeline.timeout),
    })
}

/// Why a pipeline cannot be carried out with such a grant, by what this build has.
pub(crate) fn cannot_carry_out(pipeline: &Pipeline, grant: Tier) -> Option<Refusal> {
    let missing = |stage: &Stage, runtime: &str| Refusal::RuntimeMissing {
        stage: stage.name.clone(),
        runtime: runtime.to_owned(),
    };
    pipeline.stages.iter().find_map(|stage| match &stage.work {
        Work::Agent(work) if work.tier > grant => {
            Some(Refusal::TierAboveGrant { stage: stage.name.clone(), tier: work.tier, grant })
        }
        Work::Agent(work) => match work.runtime {
            Runtime::Process => None,
            Runtime::Planner => Some(missing(stage, "planner")),
            Runtime::Council => Some(missing(stage, "council")),
        },
        Work::Gate(work) if work.gate_type == GateType::Consensus => Some(missing(stage, "council")),
        _ => None,
    })
}

/// Whether the request would make the governor remember more than it may.
pub(crate) fn too_large(request: &RunRequest) -> Option<Refusal> {
    let kept = request.lineage.iter().flat_map(|lineage| lineage.kept.values());
    let kept: usize = kept.map(|left| written::left(&left.outputs, &left.artifacts)).sum();
    let sizes = [
        (
            "the idempotency key",
            request.idempotency_key.as_ref().map_or(0, String::len),
            limits::IDEMPOTENCY_KEY_BYTES,
        ),
        ("the project's folder", request.root.len(), limits::ROOT_BYTES),
        ("the inputs", written::length(&request.inputs), limits::RUN_INPUTS_BYTES),
        ("the environment", written::length(&request.env), limits::RUN_INPUTS_BYTES),
        ("what the earlier run has put out", kept, limits::RUN_OUTPUTS_BYTES),
    ];
    let (what, bytes, limit) = sizes.into_iter().find(|(_, bytes, limit)| bytes > limit)?;
    Some(Refusal::TooLarge { what: what.to_owned(), bytes, limit })
}

/// The digest of everything that is asked for. The run's id is not: whoever asks again does so for a fresh one.
fn digest_of(request: &RunRequest) -> Digest {
    let RunRequest { run: _, pipeline, inputs, env, requester, grant, root, idempotency_key: _, lineage } =
        request;
    let asked = serde_json::to_vec(&(pipeline, InOrder(inputs), env, requester, grant, root, lineage));
    Digest::of_parts(&[b"request", &asked.expect("a request is plain data")])
}

/// A run begins, with what an earlier one completed.
pub(crate) fn begin(turn: &mut Turn<'_>, spawned: RunSpawned, lineage: Option<&Lineage>) {
    let run = spawned.run;
    turn.record(Fact::RunSpawned(Box::new(spawned)));
    turn.record(Fact::RunChanged { run, status: RunStatus::Running, reason: String::new() });
    break_glass::bind(turn, run);
    let Some(graph) = turn.governor.run(run).map(|live| live.graph().clone()) else { return };
    if let Some(lineage) = lineage {
        keep(turn, run, &graph, lineage);
    }
    start_list(turn, run, &graph.top);
    over_if_done(turn, run, None);
}

#[cfg(test)]
mod tests {
    use eparch_domain::{Name, RunId};

    use super::*;
    use crate::event::{Event, Kept};

    #[test]
    fn g10_the_same_request_has_one_digest_and_one_record_whatever_the_order_of_keys() {
        let request = |text: &str| {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            let kept = Kept { outputs: [("found".to_owned(), value.clone())].into(), artifacts: Vec::new() };
            let look = Name::new("look").unwrap();
            RunRequest {
                run: RunId::from_bits(2),
                pipeline: Digest::of(b"pipeline"),
                inputs: [("given".to_owned(), value)].into(),
                env: [].into(),
                requester: Name::new("ada").unwrap(),
                grant: None,
                root: "/srv".to_owned(),
                idempotency_key: None,
                lineage: Some(Lineage {
                    run: RunId::from_bits(1),
                    from: look.clone(),
                    kept: [(look, kept)].into(),
                    forgiven: [].into(),
                }),
            }
        };
        let one = request(r#"{"b":[{"d":1,"c":2}],"a":3}"#);
        let other = request(r#"{"a":3,"b":[{"c":2,"d":1}]}"#);
        assert_ne!(one.inputs["given"].to_string(), other.inputs["given"].to_string());
        assert_eq!(digest_of(&one), digest_of(&other));
        assert_ne!(digest_of(&one), digest_of(&request(r#"{"a":3,"b":[{"c":2,"d":2}]}"#)));
        let written = |request| serde_json::to_string(&Event::RunRequested(Box::new(request))).unwrap();
        assert_eq!(written(one), written(other));
    }
}
