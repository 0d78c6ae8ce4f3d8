//! What a run's expressions can see, and what an attempt becomes when they are resolved.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{AgentId, Digest, Name};
use eparch_pipeline::{AgentWork, EvalError, Expr, Scope, StageIx, StageScope, Text};
use serde_json::Value;

use crate::effect::{AgentSpec, GivenFile};
use crate::state::Run;

/// The scope for some expressions: inputs, environment, the run, and the stages they name.
pub(crate) fn scope_for<'e>(run: &Run, expressions: impl Iterator<Item = &'e Expr>) -> Scope {
    let names: BTreeSet<&String> = expressions.flat_map(Expr::stage_names).collect();
    let pipeline = &run.graph().pipeline;
    let stages = names.into_iter().filter_map(|name| {
        let state = run.stage(pipeline.find(name)?);
        let seen = StageScope {
            status: state.status,
            outputs: state.outputs.clone(),
            artifacts: state.artifacts.iter().map(|artifact| artifact.path.clone()).collect(),
        };
        Some((name.clone(), seen))
    });
    let spawned = &run.spawned;
    let about = [
        ("id", spawned.run.to_string()),
        ("pipeline", pipeline.name.to_string()),
        ("requester", spawned.requester.to_string()),
        ("plan", spawned.plan.to_string()),
    ];
    let mut about: BTreeMap<String, Value> =
        about.into_iter().map(|(key, text)| (key.to_owned(), text.into())).collect();
    about.insert("tier".to_owned(), spawned.grant.number().into());
    Scope { inputs: spawned.inputs.clone(), stages: stages.collect(), run: about, env: spawned.env.clone() }
}

/// The digest of everything a scope shows, so that the record says what a decision was made on.
pub(crate) fn digest_of(scope: &Scope) -> Digest {
    let shown = scope
        .stages
        .iter()
        .map(|(name, stage)| (name, (stage.status.as_str(), &stage.outputs, &stage.artifacts)));
    let stages: BTreeMap<_, _> = shown.collect();
    let seen =
        serde_json::to_vec(&(&scope.inputs, stages, &scope.run, &scope.env)).expect("a scope is plain data");
    Digest::of(&seen)
}

/// The agent that an attempt at a stage makes: the same one on every replay.
pub(crate) fn agent_id(run: &Run, ix: StageIx, attempt: u32) -> AgentId {
    let parts: [&[u8]; 4] =
        [b"agent", &run.spawned.run.bits().to_be_bytes(), &ix.0.to_be_bytes(), &attempt.to_be_bytes()];
    AgentId::derived(&Digest::of_parts(&parts))
}

/// Resolves every expression of a stage into what the attempt will be.
pub(crate) fn resolve(
    run: &Run,
    ix: StageIx,
    work: &AgentWork,
    attempt: u32,
) -> Result<AgentSpec, EvalError> {
    let scope = scope_for(run, work.texts().flat_map(Text::expressions));
    let all = |texts: &[Text]| texts.iter().map(|text| text.render(&scope)).collect::<Result<Vec<_>, _>>();
    let env = work
        .env
        .iter()
        .map(|(key, text)| Ok((key.clone(), text.render(&scope)?)))
        .collect::<Result<_, EvalError>>()?;
    let spawned = &run.spawned;
    Ok(AgentSpec {
        agent: agent_id(run, ix, attempt),
        run: spawned.run,
        pipeline: spawned.pipeline,
        plan: spawned.plan,
        stage: ix,
        name: run.graph().pipeline.stage(ix).name.clone(),
        attempt,
        follows: run.stage(ix).last_agent,
        tier: work.tier.min(spawned.grant),
        objective: work.objective.as_ref().map(|text| text.render(&scope)).transpose()?,
        command: all(&work.command)?,
        env,
        read: all(&work.read)?,
        write: all(&work.write)?,
        verify: work.verify.iter().map(|command| all(command)).collect::<Result<_, _>>()?,
        artifacts: all(&work.artifacts)?,
        inputs_from: given(run, ix),
        inputs: spawned.inputs.clone(),
        root: spawned.root.clone(),
        sandbox: work.sandbox,
        timeout: work.attempt_timeout.unwrap_or(work.timeout),
        idle_timeout: work.idle_timeout,
    })
}

/// The artifacts of every stage that came before `ix`.
fn given(run: &Run, ix: StageIx) -> BTreeMap<Name, Vec<GivenFile>> {
    let graph = run.graph();
    let before = graph.before(ix).into_iter().filter(|earlier| !run.stage(*earlier).artifacts.is_empty());
    let files = before.map(|earlier| {
        let files = run.stage(earlier).artifacts.iter();
        let files = files.map(|artifact| GivenFile { path: artifact.path.clone(), digest: artifact.digest });
        (graph.pipeline.stage(earlier).name.clone(), files.collect())
    });
    files.collect()
}

/// The digest of what an approval at `ix` is of: the plan, and what everything before the gate has left.
pub(crate) fn subject_of(run: &Run, ix: StageIx) -> Digest {
    let graph = run.graph();
    let left: Vec<_> = graph
        .before(ix)
        .into_iter()
        .map(|earlier| {
            let state = run.stage(earlier);
            (&graph.pipeline.stage(earlier).name, state.status, &state.outputs, &state.artifacts)
        })
        .collect();
    let left = serde_json::to_vec(&left).expect("stage states are plain data");
    let run_id = run.spawned.run.bits().to_be_bytes();
    Digest::of_parts(&[b"gate", &run_id, &ix.0.to_be_bytes(), run.spawned.plan.as_bytes(), &left])
}
