//! What agents put out, as far as it is taken.

use std::collections::BTreeMap;

use eparch_domain::{AgentId, Artifact, limits};
use serde_json::Value;

use crate::fact::Fact;
use crate::governor::Turn;
use crate::written;

/// Takes what an agent put out, as far as its stage and its run may have so much, whichever way it came; the last value of
/// a name counts.
pub(crate) fn put_out(
    turn: &mut Turn<'_>,
    agent: AgentId,
    outputs: &BTreeMap<String, Value>,
    artifacts: &[Artifact],
) {
    let Some((run, _, attempt)) = turn.governor.attempt(agent) else { return };
    let Some(live) = turn.governor.run(run) else { return };
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
    let dropped = (outputs.len() - taken.len(), artifacts.len() - files);
    if !taken.is_empty() || files > 0 || dropped == (0, 0) {
        turn.record(Fact::OutputSeen { agent, outputs: taken, artifacts: artifacts[..files].to_vec() });
    }
    if dropped != (0, 0) {
        let count = |dropped: usize| u32::try_from(dropped).unwrap_or(u32::MAX);
        let (outputs, artifacts) = (count(dropped.0), count(dropped.1));
        turn.record(Fact::OutputDropped { agent, outputs, artifacts });
    }
}
