//! Saving and restoring what the governor remembers.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use eparch_domain::{Digest, Phase, RunId};
use eparch_pipeline::Work;
use serde::{Deserialize, Serialize};

use crate::break_glass::wakes;
use crate::governor::Governor;
use crate::operator::Operator;
use crate::state::{Doing, Run, State};
use crate::timers::{Timer, Timers};

/// The format a snapshot is written in; another one is refused, and the journal is read from an older snapshot or from
/// its beginning.
const FORMAT: u32 = 5;

/// Everything a governor remembers at one moment. Taking one copies pointers; writing it can happen elsewhere while
/// handling goes on.
#[derive(Debug, Clone)]
pub struct Snapshot(State);

#[derive(Serialize)]
struct Written<'s> {
    format: u32,
    state: &'s State,
}

#[derive(Deserialize)]
struct Read {
    format: u32,
    state: State,
}

/// What every format begins with.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Why a snapshot could not be restored.
#[derive(Debug)]
pub enum RestoreError {
    /// It is not a snapshot.
    Unreadable(serde_json::Error),
    /// It was written by another version.
    Format {
        /// The format found.
        found: u32,
    },
    /// A definition it needs is not at hand.
    Definition(Digest),
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RestoreError::Unreadable(_) => write!(f, "cannot read the snapshot"),
            RestoreError::Format { found } => {
                write!(f, "the snapshot has format {found}; this build reads {FORMAT}")
            }
            RestoreError::Definition(digest) => write!(f, "the definition {digest} is not at hand"),
        }
    }
}

impl std::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RestoreError::Unreadable(source) => Some(source),
            _ => None,
        }
    }
}

impl Snapshot {
    /// The snapshot's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("memory takes everything");
        bytes
    }

    /// Writes them, in small pieces: how many they are nobody has to hold at once.
    ///
    /// # Errors
    ///
    /// What they are written into says.
    pub fn write_to(&self, to: impl Write) -> io::Result<()> {
        Ok(serde_json::to_writer(to, &Written { format: FORMAT, state: &self.0 })?)
    }

    /// Reads a snapshot's bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Snapshot, RestoreError> {
        let unreadable = match serde_json::from_slice::<Read>(bytes) {
            Ok(read) if read.format == FORMAT => return Ok(Snapshot(read.state)),
            Ok(read) => return Err(RestoreError::Format { found: read.format }),
            Err(problem) => problem,
        };
        // State of another format need not be what this build takes for state: its number is what matters.
        match serde_json::from_slice::<Format>(bytes) {
            Ok(read) if read.format != FORMAT => Err(RestoreError::Format { found: read.format }),
            _ => Err(RestoreError::Unreadable(unreadable)),
        }
    }

    /// Everybody who may ask for something, as the snapshot has them.
    pub fn operators(&self) -> impl Iterator<Item = &Operator> {
        self.0.operators.values()
    }

    /// The definitions that must be at hand before it can be restored.
    pub fn definitions(&self) -> BTreeSet<Digest> {
        self.0.definitions().collect()
    }
}

impl Governor {
    /// Everything the governor remembers now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.state.clone())
    }

    /// Becomes what the snapshot says, keeping the definitions at hand. Fails without changing anything when one is
    /// missing.
    pub fn restore(&mut self, snapshot: Snapshot) -> Result<(), RestoreError> {
        let mut state = snapshot.0;
        let link = |(id, mut run): (RunId, Arc<Run>)| {
            let pipeline = run.spawned.pipeline;
            let graph = self.definitions.get(&pipeline).ok_or(RestoreError::Definition(pipeline))?;
            let live = Arc::make_mut(&mut run);
            live.graph = Some(graph.clone());
            live.stages.iter_mut().for_each(|stage| Arc::make_mut(stage).count_put_out());
            Ok((id, run))
        };
        state.runs = state.runs.into_iter().map(link).collect::<Result<_, RestoreError>>()?;
        let mut restored = Governor {
            state,
            definitions: std::mem::take(&mut self.definitions),
            policies: std::mem::take(&mut self.policies),
            ..Governor::default()
        };
        restored.build_indexes();
        *self = restored;
        self.forget_idle_definitions();
        Ok(())
    }

    /// Works out every index from the state alone.
    fn build_indexes(&mut self) {
        let mut timers = Timers::default();
        for (run, held) in &self.state.leases.held {
            timers.set(Timer::Lease(*run), held.renew_at);
        }
        if let Some((_, look_at)) = self.state.leases.doubt {
            timers.set(Timer::Clock, look_at);
        }
        if let Some((_, at)) = self.state.leases.ending {
            timers.set(Timer::Ending, at);
        }
        let emergencies = &self.state.emergencies;
        if let Some(at) = emergencies.stopped.as_ref().and_then(|stopped| stopped.again_at) {
            timers.set(Timer::Stopping, at);
        }
        for (grant, found) in &emergencies.glasses.live {
            if let Some(at) = wakes(found) {
                timers.set(Timer::BreakGlass(*grant), at);
            }
        }
        if let Some(waits) = &self.state.proposal {
            timers.set_until(Timer::Policies, waits.proposed.until.into());
        }
        for (id, run) in &self.state.runs {
            if run.ending.is_none() {
                timers.set(Timer::Run(*id), run.spawned.deadline);
            }
            for ix in run.graph().pipeline.places() {
                let stage = run.stage(ix);
                if let Some(at) = stage.deadline {
                    timers.set(Timer::Stage(*id, ix), at);
                }
                match &stage.doing {
                    Doing::Nothing => {}
                    Doing::Queued(place) => match &run.graph().pipeline.stage(ix).work {
                        Work::Condition(_) | Work::Gate(_) => {
                            self.put_off.insert(*place, (*id, ix));
                        }
                        Work::Agent(_) | Work::Parallel(_) => {
                            self.queue.insert(*place, (*id, ix));
                        }
                    },
                    Doing::Locks(waiting) => {
                        self.waiting.insert(waiting.place, (*id, ix));
                        for name in &waiting.names {
                            self.wanted.entry(name.clone()).or_default().insert(waiting.place);
                        }
                        if waiting.ready {
                            self.queue.insert(waiting.place, (*id, ix));
                        }
                    }
                    Doing::Backoff(at) => timers.set(Timer::Retry(*id, ix), *at),
                    Doing::Attempt(attempt) => {
                        self.agents.insert(attempt.agent, (*id, ix));
                        for (gate, open) in &attempt.questions.open {
                            self.gates.insert(*gate, (*id, ix));
                            timers.set_until(Timer::Gate(*gate), open.opened.deadline);
                        }
                        if let Some(at) = attempt.gone_by {
                            timers.set(Timer::Gone(attempt.agent), at);
                        }
                        if let Some(token) = &attempt.token {
                            timers.set(Timer::Token(attempt.agent), token.renew_at);
                        }
                        if let Some(holding) = &attempt.locks
                            && !attempt.being_killed
                            && !attempt.cut_off
                        {
                            timers.set(Timer::Lock(attempt.agent), holding.renew_at);
                        }
                        if attempt.end.is_none() && !attempt.cut_off && attempt.phase <= Phase::Execute {
                            match attempt.execute_by {
                                Some(at) => timers.set(Timer::Execute(attempt.agent), at),
                                None => timers.set(Timer::Start(attempt.agent), attempt.start_by),
                            }
                            if let Some(at) = attempt.idle_by {
                                timers.set(Timer::Idle(attempt.agent), at);
                            }
                            if let Some(at) = attempt.heartbeats.due_by {
                                timers.set(Timer::Heartbeat(attempt.agent), at);
                            }
                        }
                    }
                    Doing::Gate(gate) => {
                        self.gates.insert(gate.opened.gate, (*id, ix));
                        timers.set_until(Timer::Gate(gate.opened.gate), gate.opened.deadline);
                    }
                }
            }
        }
        self.timers = timers;
    }

    /// Whether the state and the indexes are those of `other`; for replay checks and tests.
    pub fn agrees_with(&self, other: &Governor) -> bool {
        self.state == other.state
            && self.agents == other.agents
            && self.gates == other.gates
            && self.queue == other.queue
            && self.put_off == other.put_off
            && self.waiting == other.waiting
            && self.wanted == other.wanted
            && self.timers == other.timers
    }
}
