//! What a scenario is played on: a governor, its clock, everybody's names, and a copy that only ever applies facts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eparch_domain::{
    AgentId, AlertId, BreakGlassId, Digest, GateId, LeaseId, LedgerTime, Moment, Name, PermitId, RunId,
    StageStatus, StandingId, Timestamp, limits,
};
use eparch_governor::{Answer, Decision, Event, Fact, GatePurpose, Governor, Operator, Record, Snapshot};
use eparch_pipeline::{Pipeline, StageIx, Work};

/// The wall time at which every scenario begins.
pub(crate) const BEGINS: i64 = 1_767_225_600_000;

/// Names for ids, as a reader says them.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) runs: BTreeMap<RunId, String>,
    pub(crate) agents: BTreeMap<AgentId, String>,
    pub(crate) gates: BTreeMap<GateId, String>,
    pub(crate) permits: BTreeMap<PermitId, String>,
    pub(crate) leases: BTreeMap<LeaseId, String>,
    pub(crate) standings: BTreeMap<StandingId, String>,
    alerts: BTreeMap<AlertId, String>,
    glasses: BTreeMap<BreakGlassId, String>,
    digests: Vec<Digest>,
}

impl Names {
    /// A digest as `digest-1`, `digest-2` … in the order they are met, so that no trace depends on their bits.
    pub(crate) fn digest(&mut self, digest: &Digest) -> String {
        let known = self.digests.iter().position(|known| known == digest);
        let at = known.unwrap_or_else(|| {
            self.digests.push(*digest);
            self.digests.len() - 1
        });
        format!("digest-{}", at + 1)
    }

    /// Names in place of every id that stands in a text.
    pub(crate) fn replace(&mut self, text: &str) -> String {
        let mut text = text.replace(&"x".repeat(limits::RATIONALE_BYTES), "(as much as may be said)");
        for (id, name) in &self.runs {
            text = text.replace(&id.to_string(), name);
        }
        for (id, name) in &self.agents {
            text = text.replace(&id.to_string(), name);
        }
        for (id, name) in &self.gates {
            text = text.replace(&id.to_string(), name);
        }
        for (id, name) in &self.leases {
            text = text.replace(&id.to_string(), name);
        }
        for (id, name) in &self.permits {
            text = text.replace(&id.to_string(), name);
        }
        for (id, name) in &self.standings {
            text = text.replace(&id.to_string(), name);
        }
        for (id, name) in &self.glasses {
            text = text.replace(&id.to_string(), name);
        }
        for (id, name) in &self.alerts {
            text = text.replace(&id.to_string(), name);
        }
        while let Some(at) = text.find("sha256:") {
            let found = &text[at..at + 7 + 64];
            let name = self.digest(&found.parse().expect("a digest is written in full"));
            text = text.replace(found, &name);
        }
        text
    }
}

/// The governor under test and everything that is remembered about it.
pub(crate) struct Home {
    pub(crate) governor: Governor,
    pub(crate) names: Names,
    pub(crate) pipelines: BTreeMap<String, Arc<Pipeline>>,
    pub(crate) runs: BTreeMap<RunId, Arc<Pipeline>>,
    pub(crate) operators: BTreeMap<Name, Operator>,
    /// What each completed stage left, for runs that repeat another in part.
    pub(crate) kept: BTreeMap<(RunId, StageIx), eparch_governor::Kept>,
    pub(crate) subjects: BTreeMap<GateId, Digest>,
    /// What the last request to promote somebody was about.
    pub(crate) promotions: BTreeMap<StandingId, Digest>,
    pub(crate) packages: BTreeMap<AgentId, Digest>,
    pub(crate) epoch: u64,
    pub(crate) wall_ahead: i64,
    /// When the last event was handed in.
    pub(crate) last: Moment,
    /// Whether leases and tokens are told.
    pub(crate) tells_leases: bool,
    pub(crate) statuses: BTreeMap<(RunId, StageIx), StageStatus>,
    pub(crate) outputs: BTreeMap<AgentId, eparch_governor::Kept>,
    stage_of: BTreeMap<AgentId, (RunId, StageIx)>,
    replayed: Governor,
}

impl Home {
    pub(crate) fn new(pipelines: BTreeMap<String, Arc<Pipeline>>) -> Home {
        let (mut governor, mut replayed) = (Governor::new(), Governor::new());
        for pipeline in pipelines.values() {
            governor.learn(pipeline.clone());
            replayed.learn(pipeline.clone());
        }
        let mut names = Names::default();
        for pipeline in pipelines.values() {
            for stage in &pipeline.stages {
                if let Work::Agent(work) = &stage.work {
                    names.standings.entry(work.standing()).or_insert_with(|| format!("std:{}", stage.name));
                }
            }
        }
        Home {
            governor,
            replayed,
            names,
            pipelines,
            runs: BTreeMap::new(),
            operators: BTreeMap::new(),
            kept: BTreeMap::new(),
            subjects: BTreeMap::new(),
            promotions: BTreeMap::new(),
            packages: BTreeMap::new(),
            epoch: 0,
            wall_ahead: 0,
            last: Moment::default(),
            tells_leases: false,
            statuses: BTreeMap::new(),
            outputs: BTreeMap::new(),
            stage_of: BTreeMap::new(),
        }
    }

    /// The break-glass request that a scenario calls so; one that nobody knows for any other name.
    pub(crate) fn glass(&self, wanted: &str) -> BreakGlassId {
        let known = self.names.glasses.iter().find(|(_, name)| *name == wanted);
        known.map_or(BreakGlassId::from_bits(99), |(grant, _)| *grant)
    }

    /// The lease that a scenario calls so.
    pub(crate) fn lease_named(&self, wanted: &str) -> LeaseId {
        let known = self.names.leases.iter().find(|(_, name)| *name == wanted);
        *known.unwrap_or_else(|| panic!("no lease {wanted} has begun")).0
    }

    pub(crate) fn stage_name(&self, run: RunId, ix: StageIx) -> String {
        let prefix = self.prefix(run);
        format!("{prefix}{}", self.runs[&run].stage(ix).name)
    }

    /// The first run goes without saying.
    fn prefix(&self, run: RunId) -> String {
        match self.names.runs.get(&run) {
            Some(name) if name != "r1" => format!("{name}:"),
            _ => String::new(),
        }
    }

    pub(crate) fn moment(&self, millis: u64) -> Moment {
        let wall = BEGINS + i64::try_from(millis).expect("a scenario is short") + self.wall_ahead;
        Moment { ledger: LedgerTime::from_millis(millis), wall: Timestamp::from_millis(wall) }
    }

    /// Hands one event in at a point of ledger time, and checks nothing: for events that are too large to be looked at
    /// from all sides each time. [`Home::handle`] cannot follow on it.
    pub(crate) fn decide(&mut self, event: &Event, millis: u64) -> Decision {
        let decision = self.governor.handle(event, self.moment(millis));
        if let (Event::RunRequested(request), Answer::Taken) = (event, &decision.answer) {
            let pipeline = self.pipelines.values().find(|pipeline| pipeline.digest() == request.pipeline);
            self.runs.insert(request.run, pipeline.expect("a run is of a known pipeline").clone());
        }
        decision.facts.iter().for_each(|fact| self.remember(fact));
        decision
    }

    /// Whether a snapshot brings back the state there is.
    pub(crate) fn check_snapshot(&self) {
        let saved =
            Snapshot::from_bytes(&self.governor.snapshot().to_bytes()).expect("a snapshot reads back");
        let mut restored = self.governor.clone();
        restored.restore(saved).expect("every definition is at hand");
        assert!(restored.agrees_with(&self.governor), "the snapshot is of another state");
    }

    /// Hands one event in at a point of ledger time, and checks what must hold after every event of every scenario.
    pub(crate) fn handle(&mut self, event: &Event, millis: u64) -> Decision {
        let decision = self.decide(event, millis);
        let now = self.moment(millis);
        self.last = now;
        let record = Record {
            v: eparch_governor::RECORD_FORMAT,
            engine: "test".to_owned(),
            epoch: self.epoch,
            at: now,
            policy: None,
            event: event.clone(),
            decision,
        };
        // What is replayed is what was written.
        let record = Record::from_bytes(&record.to_bytes()).expect("a record reads back");
        for fact in &record.decision.facts {
            self.replayed.apply(fact, record.at);
        }
        assert!(
            self.replayed.agrees_with(&self.governor),
            "the recorded facts make another state than {event:?}"
        );
        self.check_snapshot();
        record.decision
    }

    fn remember(&mut self, fact: &Fact) {
        match fact {
            Fact::OperatorKnown { operator, .. } => {
                self.operators.insert(operator.name.clone(), operator.clone());
            }
            Fact::RunSpawned(spawned) => {
                if let Some(parent) = &spawned.parent {
                    let of = self.names.runs.get(&parent.run).cloned().unwrap_or_default();
                    self.names.runs.insert(spawned.run, format!("{of}-diagnosis"));
                    let known = self.pipelines.values().find(|known| known.digest() == spawned.pipeline);
                    self.runs.insert(spawned.run, known.expect("it was offered").clone());
                }
                for ix in self.runs[&spawned.run].places() {
                    self.statuses.insert((spawned.run, ix), StageStatus::Pending);
                }
            }
            Fact::RunChanged { run, status, .. } if status.is_terminal() => {
                for ix in self.runs[run].places() {
                    let status = self.statuses[&(*run, ix)];
                    let name = &self.runs[run].stage(ix).name;
                    assert!(status.is_terminal(), "the run ended and its stage {name} is {status} (R019)");
                }
            }
            Fact::StageChanged { run, stage, status, .. } => {
                let before = self.statuses.insert((*run, *stage), *status);
                let name = &self.runs[run].stage(*stage).name;
                assert!(
                    before.is_none_or(|before| !before.is_terminal()),
                    "{name} had ended and became {status} (R019)"
                );
            }
            Fact::StageKept { run, stage, .. } => {
                self.statuses.insert((*run, *stage), StageStatus::Completed);
            }
            Fact::LeaseBegan { lease, .. } => {
                let named = format!("lease-{}", self.names.leases.len() + 1);
                self.names.leases.entry(*lease).or_insert(named);
            }
            Fact::AttemptBegan { run, stage, agent, attempt, .. } => {
                let name = format!("{}#{attempt}", self.stage_name(*run, *stage));
                self.names.agents.insert(*agent, name);
                self.stage_of.insert(*agent, (*run, *stage));
            }
            Fact::BreakGlassAsked(asked) => {
                let name = format!("glass-{}", self.names.glasses.len() + 1);
                self.names.glasses.insert(asked.grant, name);
            }
            Fact::AlertRaised { alert, .. } | Fact::AlarmRaised { alert, .. } => {
                let name = format!("alert-{}", self.names.alerts.len() + 1);
                assert!(
                    self.names.alerts.insert(*alert, name).is_none(),
                    "two violations raised one alert (R079)"
                );
            }
            Fact::PromotionRequested(opened) => {
                self.promotions.insert(opened.standing, opened.subject);
            }
            Fact::OutputSeen { agent, outputs, artifacts } => {
                let nothing = || eparch_governor::Kept { outputs: BTreeMap::new(), artifacts: Vec::new() };
                let left = self.outputs.entry(*agent).or_insert_with(nothing);
                left.outputs.extend(outputs.clone());
                left.artifacts.extend(artifacts.clone());
            }
            Fact::AttemptEnded { agent, end: eparch_governor::AttemptEnd::Completed } => {
                let left = self.outputs.remove(agent);
                let left =
                    left.unwrap_or(eparch_governor::Kept { outputs: BTreeMap::new(), artifacts: Vec::new() });
                self.kept.insert(self.stage_of[agent], left);
            }
            Fact::GateOpened(opened) => {
                let stage = self.stage_name(opened.run, opened.stage);
                let name = match opened.purpose {
                    GatePurpose::Stage => format!("gate:{stage}"),
                    GatePurpose::Interrupted => {
                        let asked = self
                            .names
                            .gates
                            .values()
                            .filter(|name| name.starts_with(&format!("ask:{stage}#")));
                        format!("ask:{stage}#{}", asked.count() + 1)
                    }
                    GatePurpose::Action => {
                        let asked = self.names.gates.values().filter(|name| name.starts_with("question-"));
                        format!("question-{}", asked.count() + 1)
                    }
                };
                self.names.gates.insert(opened.gate, name);
                self.subjects.insert(opened.gate, opened.subject);
            }
            Fact::ActionDecided(ruled) => {
                if let Some(permit) = ruled.permit {
                    let name = format!("permit-{}", self.names.permits.len() + 1);
                    self.names.permits.insert(permit.permit, name);
                }
            }
            Fact::Packaged { agent, manifest } => {
                self.packages.insert(*agent, *manifest);
            }
            _ => {}
        }
    }

    /// The permit a reader means; one that was never given when nobody has it.
    pub(crate) fn permit(&self, wanted: &str) -> PermitId {
        let known = self.names.permits.iter().find(|(_, name)| *name == wanted);
        known.map_or(PermitId::from_bits(7), |(permit, _)| *permit)
    }

    /// The failures that an earlier run went on after.
    pub(crate) fn forgiven_in(&self, earlier: RunId) -> BTreeMap<Name, StageStatus> {
        let pipeline = &self.runs[&earlier];
        let forgives =
            |ix: &StageIx| matches!(&pipeline.stage(*ix).work, Work::Agent(work) if work.continue_on_error);
        let failures = pipeline.places().filter(forgives).filter_map(|ix| {
            let status = self.statuses[&(earlier, ix)];
            let failed = matches!(status, StageStatus::Failed | StageStatus::TimedOut);
            failed.then(|| (pipeline.stage(ix).name.clone(), status))
        });
        failures.collect()
    }

    /// What a run that repeats `from` keeps: every completed stage of the earlier one, or those that are named.
    pub(crate) fn kept_from(&self, earlier: RunId, only: &[String]) -> BTreeMap<Name, eparch_governor::Kept> {
        let pipeline = &self.runs[&earlier];
        let only: BTreeSet<&str> = only.iter().map(String::as_str).collect();
        let completed =
            pipeline.places().filter(|ix| self.statuses[&(earlier, *ix)] == StageStatus::Completed);
        let named =
            completed.filter(|ix| only.is_empty() || only.contains(pipeline.stage(*ix).name.as_str()));
        let left = named.map(|ix| {
            let nothing = eparch_governor::Kept { outputs: BTreeMap::new(), artifacts: Vec::new() };
            (pipeline.stage(ix).name.clone(), self.kept.get(&(earlier, ix)).cloned().unwrap_or(nothing))
        });
        left.collect()
    }
}
