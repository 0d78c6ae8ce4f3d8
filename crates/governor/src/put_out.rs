//! What agents put out, as far as it is taken.

use std::collections::BTreeMap;

use eparch_domain::{AgentId, Artifact, limits};
use serde_json::Value;

use crate::fact::Fact;
use crate::governor::Turn;
use crate::written;

/// How much of what an agent put out was not taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    outputs: usize,
    files: usize,
}

impl Dropped {
    /// What is said of an attempt whose results are not all there; nothing when they are.
    pub(crate) fn reason(self) -> Option<String> {
        let Dropped { outputs, files } = self;
        (self != Dropped::default())
            .then(|| format!("{outputs} outputs and {files} files of it were not kept: {MOST}"))
    }
}

const MOST: &str = "a stage may put out 256 of each, and the stages of a run 16 MiB together";
const _: () = assert!(
    limits::STAGE_OUTPUTS == 256 && limits::STAGE_ARTIFACTS == 256 && limits::RUN_OUTPUTS_BYTES == 16 << 20,
    "the text names them"
);

/// Takes what an agent put out, as far as its stage and its run may have so much, whichever way it came; the last value of
/// a name counts. What is left over is told.
pub(crate) fn put_out(
    turn: &mut Turn<'_>,
    agent: AgentId,
    outputs: &BTreeMap<String, Value>,
    artifacts: &[Artifact],
) -> Dropped {
    let Some((run, _, attempt)) = turn.governor.attempt(agent) else { return Dropped::default() };
    let Some(live) = turn.governor.run(run) else { return Dropped::default() };
    let mut places = limits::STAGE_OUTPUTS.saturating_sub(attempt.outputs.len());
    let mut room = limits::RUN_OUTPUTS_BYTES.saturating_sub(live.put_out());
    let mut taken = BTreeMap::new();
    for (name, value) in outputs {
        let before = attempt.outputs.get(name);
        let (places_with, room_with) = match before {
            Some(before) => (places + 1, room + written::output(name, before)),
            None => (places, room),
        };
        let size = written::output(name, value);
        if places_with > 0 && size <= room_with {
            (places, room) = (places_with - 1, room_with - size);
            taken.insert(name.clone(), value.clone());
        }
    }
    let files = artifacts.iter().take(limits::STAGE_ARTIFACTS.saturating_sub(attempt.artifacts.len()));
    let files = files.take_while(|artifact| {
        let left = room.checked_sub(written::artifact(artifact));
        room = left.unwrap_or(room);
        left.is_some()
    });
    let files = files.count();
    let dropped = Dropped { outputs: outputs.len() - taken.len(), files: artifacts.len() - files };
    if !taken.is_empty() || files > 0 || dropped == Dropped::default() {
        turn.record(Fact::OutputSeen { agent, outputs: taken, artifacts: artifacts[..files].to_vec() });
    }
    if dropped != Dropped::default() {
        let count = |dropped: usize| u32::try_from(dropped).unwrap_or(u32::MAX);
        let (outputs, artifacts) = (count(dropped.outputs), count(dropped.files));
        turn.record(Fact::OutputDropped { agent, outputs, artifacts });
    }
    dropped
}
