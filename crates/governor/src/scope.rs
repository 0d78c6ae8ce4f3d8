//! What a run's expressions can see, and what an attempt becomes when they are resolved.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{AgentId, BadName, Digest, InOrder, Name, Tier, limits};
use eparch_pipeline::{AgentWork, EvalError, Expr, Fuel, Scope, StageIx, StageScope, Text};
use serde_json::Value;

use crate::effect::{AgentSpec, GivenFile};
use crate::state::Run;

/// The scope for some expressions: inputs, environment, the run, and the stages they name; and how many bytes of what those
/// put out were copied.
pub(crate) fn scope_for<'e>(run: &Run, expressions: impl Iterator<Item = &'e Expr>) -> (Scope, usize) {
    let names: BTreeSet<&String> = expressions.flat_map(Expr::stage_names).collect();
    let pipeline = &run.graph().pipeline;
    let mut copied = 0;
    let stages = names.into_iter().filter_map(|name| {
        let state = run.stage(pipeline.find(name)?);
        copied += state.put_out;
        let seen = StageScope {
            status: state.status,
            outputs: state.outputs.clone(),
            artifacts: state.artifacts.iter().map(|artifact| artifact.path.clone()).collect(),
        };
        Some((name.clone(), seen))
    });
    let stages = stages.collect();
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
    (Scope { inputs: spawned.inputs.clone(), stages, run: about, env: spawned.env.clone() }, copied)
}

/// What evaluating an expression costs before its first node: it has a stack of its own, which takes as long as so many
/// nodes (measured).
pub(crate) const EVALUATION: u64 = 150;

/// What copying, or writing and hashing, so many bytes costs, in nodes of an expression.
pub(crate) fn cost_of(bytes: usize) -> u64 {
    bytes as u64 / 256
}

/// The digest of everything a scope shows, so that the record says what a decision was made on, and of how many bytes.
pub(crate) fn digest_of(scope: &Scope) -> (Digest, usize) {
    let shown = scope
        .stages
        .iter()
        .map(|(name, stage)| (name, (stage.status.as_str(), InOrder(&stage.outputs), &stage.artifacts)));
    let stages: BTreeMap<_, _> = shown.collect();
    let seen = serde_json::to_vec(&(InOrder(&scope.inputs), stages, InOrder(&scope.run), &scope.env))
        .expect("a scope is plain data");
    (Digest::of(&seen), seen.len())
}

/// The agent that an attempt at a stage makes: the same one on every replay.
pub(crate) fn agent_id(run: &Run, ix: StageIx, attempt: u32) -> AgentId {
    let parts: [&[u8]; 4] =
        [b"agent", &run.spawned.run.bits().to_be_bytes(), &ix.0.to_be_bytes(), &attempt.to_be_bytes()];
    AgentId::derived(&Digest::of_parts(&parts))
}

/// Why an attempt cannot be made.
#[derive(Debug)]
pub(crate) enum ResolveError {
    /// An expression yields nothing.
    Expression(EvalError),
    /// Everything it would be told is too much together.
    TooLong,
    /// No lock can be called so.
    Lock(String, BadName),
}

impl std::fmt::Display for ResolveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ResolveError::Expression(problem) => problem.fmt(f),
            ResolveError::Lock(text, why) => write!(f, "no lock can be called {text:?}: {why}"),
            ResolveError::TooLong => {
                write!(f, "its texts are longer than {} bytes together", limits::ATTEMPT_TEXT_BYTES)
            }
        }
    }
}

/// The texts of a stage being filled in: they share what may be spent on it.
struct Filling<'s> {
    scope: &'s Scope,
    fuel: &'s mut Fuel,
    room: usize,
}

impl Filling<'_> {
    fn one(&mut self, text: &Text) -> Result<String, ResolveError> {
        let filled = text.render_with(self.scope, self.fuel).map_err(ResolveError::Expression)?;
        self.room = self.room.checked_sub(filled.len()).ok_or(ResolveError::TooLong)?;
        Ok(filled)
    }

    fn all(&mut self, texts: &[Text]) -> Result<Vec<String>, ResolveError> {
        texts.iter().map(|text| self.one(text)).collect()
    }
}

/// Resolves every expression of a stage into what the attempt will be.
pub(crate) fn resolve(
    run: &Run,
    ix: StageIx,
    work: &AgentWork,
    attempt: u32,
    tier: Tier,
    scope: &Scope,
    fuel: &mut Fuel,
) -> Result<AgentSpec, ResolveError> {
    let mut fill = Filling { scope, fuel, room: limits::ATTEMPT_TEXT_BYTES };
    let env = work
        .env
        .iter()
        .map(|(key, text)| Ok((key.clone(), fill.one(text)?)))
        .collect::<Result<_, ResolveError>>()?;
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
        tier,
        objective: work.objective.as_ref().map(|text| fill.one(text)).transpose()?,
        command: fill.all(&work.command)?,
        env,
        read: fill.all(&work.read)?,
        write: fill.all(&work.write)?,
        actions: fill.all(&work.actions)?,
        locks: lock_names(fill.all(&work.locks)?)?,
        verify: work.verify.iter().map(|command| fill.all(command)).collect::<Result<_, _>>()?,
        artifacts: fill.all(&work.artifacts)?,
        inputs_from: given(run, ix),
        inputs: spawned.inputs.clone(),
        root: spawned.root.clone(),
        sandbox: work.sandbox,
        timeout: work.attempt_timeout.unwrap_or(work.timeout),
        idle_timeout: work.idle_timeout,
        looks_at: spawned.parent.clone(),
    })
}

/// The locks that an attempt is to hold; their numbers are known when it takes them.
fn lock_names(filled: Vec<String>) -> Result<BTreeMap<Name, u64>, ResolveError> {
    let name = |text: String| Name::new(&text).map_err(|why| ResolveError::Lock(text, why));
    filled.into_iter().map(|text| Ok((name(text)?, 0))).collect()
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

/// The digest of what an approval at `ix` is of: the plan, and what everything before the gate has left. And what it took
/// to find it, in nodes of an expression.
pub(crate) fn subject_of(run: &Run, ix: StageIx) -> (Digest, u64) {
    let graph = run.graph();
    let left: Vec<_> = graph
        .before(ix)
        .into_iter()
        .map(|earlier| {
            let state = run.stage(earlier);
            (&graph.pipeline.stage(earlier).name, state.status, InOrder(&state.outputs), &state.artifacts)
        })
        .collect();
    let left = serde_json::to_vec(&left).expect("stage states are plain data");
    let run_id = run.spawned.run.bits().to_be_bytes();
    let parts: [&[u8]; 5] = [b"gate", &run_id, &ix.0.to_be_bytes(), run.spawned.plan.as_bytes(), &left];
    (Digest::of_parts(&parts), graph.weight + cost_of(left.len()))
}

#[cfg(test)]
mod tests {
    use eparch_domain::StageStatus;

    use super::*;

    #[test]
    fn g10_what_a_scope_shows_has_one_digest_whatever_the_order_of_keys() {
        let scope = |text: &str| {
            let value: Value = serde_json::from_str(text).unwrap();
            let outputs: BTreeMap<_, _> = [("found".to_owned(), value.clone())].into();
            let stage = StageScope { status: StageStatus::Completed, outputs, artifacts: Vec::new() };
            let inputs = [("given".to_owned(), value)].into();
            Scope { inputs, stages: [("look".to_owned(), stage)].into(), ..Scope::default() }
        };
        let (one, other) = (scope(r#"{"b":{"d":1,"c":2},"a":3}"#), scope(r#"{"a":3,"b":{"c":2,"d":1}}"#));
        assert_ne!(one.inputs["given"].to_string(), other.inputs["given"].to_string());
        assert_eq!(digest_of(&one), digest_of(&other));
        assert_ne!(digest_of(&one), digest_of(&scope(r#"{"a":3,"b":{"c":2,"d":2}}"#)));
    }

    #[test]
    fn what_is_copied_or_hashed_costs_by_its_bytes() {
        assert_eq!([0, 255, 256, 2_560].map(cost_of), [0, 0, 1, 10]);
    }
}
