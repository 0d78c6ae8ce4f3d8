//! A world from one seed: pipelines, runs, agents, people, crashes and a clock that nobody waits for.

mod asking;
mod commands;
mod emergencies;
mod performing;

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{
    AgentId, Digest, GateId, LedgerTime, Moment, Name, PermitId, Phase, RunId, StageStatus, Tier, Timestamp,
    limits,
};
use eparch_governor::{
    ActionAsked, Bearer, ClockMoved, Ended, Event, Kept, Lineage, Operator, Outcome, Record, RunRequest,
    SecretAccess, SecretOutcome, Signal,
};
use eparch_pipeline::{StageIx, Work};
use serde_json::Value;

use crate::actors::{self, Temper};
use crate::case::{self, Broken, Case, Player, Step, What};
use crate::dice::Dice;
use crate::people;
use crate::policies::Rules;
use crate::score::Score;

/// After so many steps nothing new is begun.
const BUSY_STEPS: usize = 150;
/// A world that has not come to rest after so many has a fault of its own.
const MOST_STEPS: usize = 5_000;

/// How a world went.
#[derive(Debug, Clone)]
pub struct Report {
    /// What happened, to be played again or shrunk.
    pub case: Case,
    /// What did not hold, if anything.
    pub broken: Option<Broken>,
    /// The digest of everything that was recorded.
    pub trace: Digest,
    /// How much virtual time went by, in milliseconds.
    pub millis: u64,
}

/// Plays the world of a seed until nothing is left to happen.
pub fn run(seed: u64) -> Report {
    let mut world = World::new(seed);
    let broken = world.live().err();
    Report {
        case: Case { scores: world.scores, steps: world.steps },
        broken,
        trace: world.player.trace(),
        millis: world.now,
    }
}

/// Something that will happen, unless the holder dies first.
#[derive(Debug, Clone)]
enum Act {
    /// The shell reports outcomes; void when it was told to do something else since.
    Advance {
        agent: AgentId,
        order: u64,
        outcomes: Vec<Outcome>,
    },
    /// Outcomes in an agent's name that the shell never saw.
    Forge {
        agent: AgentId,
        outcomes: Vec<Outcome>,
    },
    /// An agent was killed.
    Killed {
        agent: AgentId,
        order: u64,
    },
    Signal {
        agent: AgentId,
    },
    Reaped {
        agent: AgentId,
    },
    Answer {
        gate: GateId,
    },
    /// Somebody does something about who may act.
    Administer,
    /// Whoever asked for a run puts somebody else in an approver's place.
    Replace {
        by: Name,
        gate: GateId,
    },
    /// An agent asks to do something.
    Ask {
        agent: AgentId,
    },
    /// An agent comes back for what it had people asked.
    Collect {
        agent: AgentId,
        key: String,
    },
    /// An agent is about to do what a permit is for.
    Use {
        agent: AgentId,
        permit: PermitId,
    },
    /// An agent has what a permit is for performed.
    Perform {
        agent: AgentId,
        permit: PermitId,
    },
    /// There is a cage for it.
    Opened {
        agent: AgentId,
        permit: PermitId,
    },
    /// It is over.
    Performed {
        agent: AgentId,
        permit: PermitId,
    },
    /// An agent says what came of it.
    Tell {
        agent: AgentId,
        permit: PermitId,
    },
    /// An agent shows a token that is not its own.
    ShowToken {
        agent: AgentId,
    },
    /// Somebody has other policies put in force, or answers for those that wait.
    Offer,
    AnswerPolicies,
    Start,
    Stop,
    Revoke,
    /// Somebody takes a lock away (R064).
    TakeLock,
    /// Somebody does something about what an agent has earned.
    Promote,
    AskForSecret,
    Repeat {
        run: RunId,
    },
    Jump,
    /// The machine sleeps: the wall clock goes on, and ledger time stands still.
    Sleep,
    /// Somebody says that the clock is right.
    Vouch {
        by: Name,
    },
    /// Somebody stops everything, or lets things begin again.
    StopAll,
    Lift,
    /// Somebody asks that something be let pass, answers that, or ends it.
    AskGlass,
    AnswerGlass,
    EndGlass,
    /// Somebody makes puppets, and asks for something that one of them is to approve.
    PullStrings,
}

struct World {
    dice: Dice,
    scores: Vec<Score>,
    steps: Vec<Step>,
    player: Player,
    now: u64,
    wall_ahead: i64,
    epoch: u64,
    crashes_left: u32,
    agenda: BTreeMap<(u64, u64), Act>,
    acts: u64,
    requests: u64,
    runs: Vec<RunId>,
    tempers: BTreeMap<AgentId, Temper>,
    /// The last thing each agent's shell was told to do.
    orders: BTreeMap<AgentId, u64>,
    left: BTreeMap<AgentId, Kept>,
    kept: BTreeMap<(RunId, StageIx), Kept>,
    /// Which pipeline a run is of.
    scores_of: BTreeMap<RunId, usize>,
    /// What each agent asked for, in order.
    asked: BTreeMap<AgentId, Vec<ActionAsked>>,
    /// The agents that work at T2 or above.
    builders: BTreeSet<AgentId>,
    /// Who had people asked at a gate, and with which key.
    questions: BTreeMap<GateId, (AgentId, String)>,
    /// How many keys agents have made for it.
    keys: u64,
    /// The policies that are mostly offered here.
    usual: Rules,
    /// What is thrown for emergencies: dice of their own, so that the worlds of known seeds stay what they were in all else.
    grim: Dice,
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let count = dice.between(1, 3);
        let scores: Vec<Score> = (0..count)
            .map(|number| {
                let most = usize::try_from(dice.between(1, 12)).expect("a few");
                Score::random(&mut dice, &format!("p{number}"), most)
            })
            .collect();
        let usual = if dice.chance(10) { Rules::Defaults } else { Rules::Few };
        World {
            player: Player::new(&scores),
            dice,
            scores,
            steps: Vec::new(),
            now: 0,
            wall_ahead: 0,
            epoch: 0,
            crashes_left: 5,
            agenda: BTreeMap::new(),
            acts: 0,
            requests: 0,
            runs: Vec::new(),
            tempers: BTreeMap::new(),
            orders: BTreeMap::new(),
            left: BTreeMap::new(),
            kept: BTreeMap::new(),
            scores_of: BTreeMap::new(),
            asked: BTreeMap::new(),
            builders: BTreeSet::new(),
            questions: BTreeMap::new(),
            keys: 0,
            usual,
            grim: Dice::new(!seed),
        }
    }

    fn live(&mut self) -> Result<(), Broken> {
        self.boot()?;
        let people = people::people(&mut self.dice);
        let root = people[0].name.clone();
        for (at, operator) in people.into_iter().enumerate() {
            let by = (at > 0).then(|| root.clone());
            self.event(Event::OperatorAdded { by, operator })?;
        }
        for _ in 0..self.dice.between(1, 4) {
            self.later(3_000, Act::Start);
        }
        if self.dice.chance(30) {
            self.later(20_000, Act::Jump);
        }
        for _ in 0..self.dice.below(3) {
            self.later(20_000, Act::Stop);
        }
        for _ in 0..self.dice.below(3) {
            self.later(20_000, Act::Revoke);
        }
        for _ in 0..self.dice.below(4) {
            self.later(20_000, Act::TakeLock);
        }
        for _ in 0..self.dice.below(3) {
            self.later(60_000, Act::Promote);
        }
        for _ in 0..self.dice.below(3) {
            self.later(20_000, Act::AskForSecret);
        }
        for _ in 0..self.dice.below(3) {
            self.later(30_000, Act::Offer);
        }
        for _ in 0..self.dice.below(6) {
            self.later(30_000, Act::Administer);
        }
        self.plan_emergencies();
        while self.steps.len() < MOST_STEPS {
            let act = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let wake = self.player.governor().next_deadline().map(|deadline| deadline.at.millis());
            match (act, wake) {
                (None, None) => return self.rest(),
                (Some(at), Some(wake)) if wake <= at => self.wake(wake)?,
                (None, Some(wake)) => self.wake(wake)?,
                (Some(at), _) => {
                    self.now = self.now.max(at);
                    let events = self.next_events();
                    self.hand_in(events)?;
                }
            }
        }
        Err(self.broken("the world does not come to rest"))
    }

    /// Nothing is left to happen: nothing may be left undone.
    fn rest(&mut self) -> Result<(), Broken> {
        if self.player.governor().live_runs() > 0 {
            return Err(self.broken("a run lives for ever"));
        }
        match self.player.left_undone().map_err(|why| self.broken(&why))? {
            None => Ok(()),
            Some(effect) => Err(self.broken(&format!("an effect was never reported on: {effect}"))),
        }
    }

    fn broken(&self, why: &str) -> Broken {
        Broken { step: self.steps.len().saturating_sub(1), why: why.to_owned() }
    }

    /// The driver wakes at a deadline, sometimes late.
    fn wake(&mut self, at: u64) -> Result<(), Broken> {
        let late = if self.dice.chance(20) { self.dice.below(5_000) } else { 0 };
        self.now = self.now.max(at) + late;
        let mut events = vec![Event::ClockTurned];
        if self.dice.chance(10) {
            events.extend(self.next_events());
        }
        self.hand_in(events)
    }

    /// What happens next: mostly one thing, now and then several that the driver finds waiting together.
    fn next_events(&mut self) -> Vec<Event> {
        let (most, within) = if self.dice.chance(12) { (self.dice.between(2, 20), 2_000) } else { (1, 0) };
        let mut events = Vec::new();
        for _ in 0..most {
            let Some(next) = self.agenda.first_entry().filter(|next| next.key().0 <= self.now + within)
            else {
                break;
            };
            let ((at, _), act) = next.remove_entry();
            self.now = self.now.max(at);
            events.extend(self.act(act));
        }
        events
    }

    fn moment(&self) -> Moment {
        let wall = 1_767_225_600_000 + i64::try_from(self.now).unwrap_or(i64::MAX / 2) + self.wall_ahead;
        Moment { ledger: LedgerTime::from_millis(self.now), wall: Timestamp::from_millis(wall) }
    }

    fn later(&mut self, within: u64, act: Act) {
        let at = self.now + self.dice.below(within);
        self.acts += 1;
        self.agenda.insert((at, self.acts), act);
    }

    fn step(&mut self, what: What) -> Result<Vec<Record>, Broken> {
        let step = Step { at: self.moment(), what };
        self.steps.push(step.clone());
        self.player.step(&step).map_err(|why| self.broken(&why))
    }

    fn event(&mut self, event: Event) -> Result<(), Broken> {
        self.hand_in(vec![event])
    }

    /// Events are decided on in one commit; now and then the holder dies before, in or after it.
    fn hand_in(&mut self, mut events: Vec<Event>) -> Result<(), Broken> {
        if events.is_empty() {
            return Ok(());
        }
        // As the driver does: that the clock has jumped comes before whatever is decided by what it says now.
        events.sort_by_key(|event| !matches!(event, Event::ClockJumped { .. }));
        let busy = self.crashes_left > 0 && self.epoch > 0 && self.runs.len() + self.steps.len() > 8;
        if busy && self.dice.chance(3) {
            self.crashes_left -= 1;
            let what = match self.dice.below(3) {
                0 => What::Crash,
                fate => What::LostCommit { events, written: fate == 1 },
            };
            self.step(what)?;
            return self.boot();
        }
        let records = self.step(What::Events(events))?;
        for record in &records {
            self.perform(record);
        }
        Ok(())
    }

    /// A new holder: whatever the old one had in hand is gone, but for what comes late.
    fn boot(&mut self) -> Result<(), Broken> {
        let dice = &mut self.dice;
        self.agenda.retain(|_, act| match act {
            Act::Advance { .. }
            | Act::Killed { .. }
            | Act::Forge { .. }
            | Act::Signal { .. }
            | Act::Ask { .. }
            | Act::Collect { .. }
            | Act::Use { .. }
            | Act::Perform { .. }
            | Act::Opened { .. }
            | Act::Performed { .. }
            | Act::Tell { .. }
            | Act::ShowToken { .. }
            | Act::Reaped { .. } => dice.chance(10),
            _ => true,
        });
        if self.dice.chance(30) {
            self.now += self.dice.below(120_000);
        }
        self.epoch += 1;
        let agents_at_once = u32::try_from(self.dice.between(1, 5)).expect("a few");
        let clock_moved = self.clock_moves_unseen();
        let records = self.step(What::Events(vec![Event::Booted {
            epoch: self.epoch,
            version: "sim".to_owned(),
            agents_at_once,
            clock_moved,
        }]))?;
        for record in &records {
            self.perform(record);
        }
        if self.dice.chance(85) {
            let offer = self.offer(None);
            self.event(offer)?;
        }
        // No dice are thrown for it: most worlds stay what they were. Now and then something else is offered, which mostly is above
        // what begins by itself may be.
        let looks = if self.epoch % 4 == 3 { &self.scores[0].pipeline } else { &Score::looks().pipeline };
        let pipeline = looks.digest();
        let records = self.step(What::Events(vec![Event::DiagnosticOffered { pipeline }]))?;
        for record in &records {
            self.perform(record);
        }
        Ok(())
    }

    /// While nobody holds the home the wall clock may be moved, by an hour at most (F17); a holder that begins finds it, and
    /// what was moved in a commit that was lost. Of these dice nothing else is thrown: the worlds of known seeds stay what
    /// they were.
    fn clock_moves_unseen(&mut self) -> Option<ClockMoved> {
        let is_written =
            |step: &&Step| matches!(&step.what, What::Events(_) | What::LostCommit { written: true, .. });
        let last = self.steps.iter().rev().find(is_written)?.at;
        let mut dice = Dice::new(self.now ^ self.epoch.rotate_left(32));
        if dice.chance(30) {
            self.wall_ahead += i64::try_from(dice.below(7_200_000)).expect("hours") - 3_600_000;
        }
        let now = self.moment();
        let gone = now.ledger.since(last.ledger).millis().cast_signed();
        let by_ms = now.wall.millis() - last.wall.millis() - gone;
        if by_ms < 0 && dice.chance(50) {
            let by = people::name(if dice.chance(30) { "dave" } else { "root" });
            self.acts += 1;
            self.agenda.insert((self.now + by_ms.unsigned_abs() / 60, self.acts), Act::Vouch { by });
        }
        (by_ms.unsigned_abs() > limits::CLOCK_SKEW.millis()).then_some(ClockMoved { by_ms, from: last.wall })
    }

    /// The events of an act; none when it has become void.
    fn act(&mut self, act: Act) -> Vec<Event> {
        let event = match act {
            Act::Advance { agent, order, outcomes } if self.orders.get(&agent) == Some(&order) => {
                Event::AgentAdvanced { agent, outcomes }
            }
            Act::Advance { .. } => return Vec::new(),
            Act::Forge { agent, outcomes } => Event::AgentAdvanced { agent, outcomes },
            Act::Killed { agent, order } if self.orders.get(&agent) == Some(&order) => {
                let phase = self.player.seen().agents.get(&agent).and_then(|seen| seen.phase);
                let outcome = match phase {
                    None => return Vec::new(),
                    Some(Phase::Execute) => actors::executed(&mut self.dice, Ended::Killed),
                    Some(in_phase) => Outcome::Failed {
                        in_phase,
                        code: "EP0240".to_owned(),
                        reason: "it was killed".to_owned(),
                    },
                };
                Event::AgentAdvanced { agent, outcomes: vec![outcome] }
            }
            Act::Killed { .. } => return Vec::new(),
            Act::Signal { agent } if self.dice.chance(8) => Event::CallsLimited { agent },
            // Now and then so many errors at once that its run is looked at; no dice are thrown for it, either.
            Act::Signal { agent } if self.acts.is_multiple_of(31) => {
                let error = |at: u32| Signal::Error { code: format!("B{at}") };
                return (0..6).map(|at| Event::AgentSignalled { agent, signal: error(at) }).collect();
            }
            Act::Signal { agent } => Event::AgentSignalled { agent, signal: actors::signal(&mut self.dice) },
            // Who is dead mostly asks for nothing any more.
            Act::Ask { agent } if self.has_ended(agent) && self.dice.chance(80) => return Vec::new(),
            Act::Ask { agent } => self.ask(agent),
            Act::Collect { agent, key } => return self.collect(agent, &key),
            Act::Use { agent, permit } => self.use_permit(agent, permit),
            Act::Perform { agent, permit } => self.perform_under(agent, permit),
            Act::Opened { agent, permit } => self.opened(agent, permit),
            Act::Performed { agent, permit } => self.performed(agent, permit),
            Act::Tell { agent, permit } => self.tell(agent, permit),
            Act::ShowToken { agent } => self.show_token(agent),
            Act::Offer => {
                let by = if self.grim.chance(50) { people::name("root") } else { self.somebody() };
                for _ in 0..self.grim.below(4) {
                    self.grimly(8_000, Act::AnswerPolicies);
                }
                self.offer(Some(by))
            }
            Act::AnswerPolicies => self.answer_policies(),
            Act::Reaped { agent } => Event::TreeProvenDead { agent, killed: self.dice.chance(50) },
            Act::Answer { gate } => {
                let Some(gate) = self.player.seen().gates.get(&gate) else { return Vec::new() };
                let known: Vec<Operator> = self.player.governor().operators().cloned().collect();
                let mut answer = people::answer(&mut self.dice, gate, &known);
                if answer.subject == gate.opened.subject {
                    answer.subject = case::shown();
                }
                Event::GateAnswered(answer)
            }
            Act::Administer => {
                let known: Vec<Operator> = self.player.governor().operators().cloned().collect();
                people::administer(&mut self.dice, &known)
            }
            Act::Replace { by, gate } => {
                let Some(seen) = self.player.seen().gates.get(&gate).cloned() else { return Vec::new() };
                let known: Vec<Operator> = self.player.governor().operators().cloned().collect();
                let events = people::replace(&mut self.dice, &by, &seen, &known);
                for _ in 0..4 {
                    self.later(500, Act::Answer { gate });
                }
                return events;
            }
            Act::Start => self.start(None),
            Act::Repeat { run } => self.start(Some(run)),
            Act::Stop => {
                let Some(run) = (!self.runs.is_empty()).then(|| *self.dice.pick(&self.runs)) else {
                    return Vec::new();
                };
                let run = if self.dice.chance(95) { run } else { RunId::from_bits(999) };
                Event::StopRequested { run, by: self.somebody(), reason: "enough".to_owned() }
            }
            Act::Revoke => {
                let by = self.somebody();
                Event::RevokeRequested { bearer: self.bearer(), by, reason: "not any more".to_owned() }
            }
            Act::TakeLock => {
                let held: Vec<Name> = self.player.seen().locks.held.keys().cloned().collect();
                let lock = match held.is_empty() || self.dice.chance(10) {
                    true => people::name("dns"),
                    false => self.dice.pick(&held).clone(),
                };
                Event::LockReleaseRequested { lock, by: self.somebody(), reason: "it is needed".to_owned() }
            }
            Act::Promote => self.promote(),
            Act::AskForSecret => {
                let access = match self.dice.chance(50) {
                    true => SecretAccess::Read { version: None },
                    false => SecretAccess::Write { expected: Some(0) },
                };
                let (by, tier) = (self.somebody(), *self.dice.pick(&Tier::ALL));
                let path = "production/database".to_owned();
                let asked = Event::SecretAsked { by: by.clone(), path: path.clone(), tier, access };
                // What came of it is told even where nothing was to come of it.
                let outcome = SecretOutcome::Read { version: 1 };
                return vec![asked, Event::SecretServed { asked: 1, by, path, outcome }];
            }
            Act::Vouch { by } => Event::ClockVouched { by },
            Act::StopAll => self.stop_all(),
            Act::Lift => self.lift(),
            Act::AskGlass => self.ask_glass(),
            Act::AnswerGlass => match self.answer_glass() {
                Some(event) => event,
                None => return Vec::new(),
            },
            Act::EndGlass => match self.end_glass() {
                Some(event) => event,
                None => return Vec::new(),
            },
            Act::PullStrings => return self.pull_strings(),
            Act::Jump => {
                let by_ms = i64::try_from(self.dice.below(7_200_000)).expect("hours") - 3_600_000;
                self.wall_ahead += by_ms;
                // Somebody may look at the clock later. No dice are thrown for it: the worlds of known seeds stay what they were.
                if by_ms % 2 == 0 {
                    let by = people::name(if by_ms % 3 == 0 { "dave" } else { "root" });
                    self.acts += 1;
                    self.agenda.insert((self.now + by_ms.unsigned_abs() / 60, self.acts), Act::Vouch { by });
                }
                // And after a clock that was set back the machine may sleep, for an hour at most. Of these dice nothing else is thrown.
                let mut dice = Dice::new(self.now ^ by_ms.unsigned_abs().rotate_left(32));
                if by_ms < 0 && dice.chance(70) {
                    self.acts += 1;
                    self.agenda.insert((self.now + dice.below(20_000), self.acts), Act::Sleep);
                }
                Event::ClockJumped { by_ms }
            }
            Act::Sleep => {
                let mut dice = Dice::new(self.now.rotate_left(32));
                let most = *dice.pick(&[50_000, 600_000, 3_600_000]);
                let by_ms = i64::try_from(dice.below(most)).expect("an hour");
                self.wall_ahead += by_ms;
                Event::ClockJumped { by_ms }
            }
        };
        vec![event]
    }

    fn somebody(&mut self) -> Name {
        let anybody =
            ["alice", "alice", "alice", "root", "root", "junior", "junior", "frank", "dave", "mallory"];
        people::name(self.dice.pick::<&str>(&anybody))
    }

    /// An agent or a run that may bear authority.
    fn bearer(&mut self) -> Bearer {
        let agents: Vec<AgentId> = self.player.seen().agents.keys().copied().collect();
        match self.dice.below(10) {
            0 => Bearer::Agent { agent: AgentId::from_bits(999) },
            1 => Bearer::Run { run: RunId::from_bits(999) },
            2..5 if !self.runs.is_empty() => Bearer::Run { run: *self.dice.pick(&self.runs) },
            _ if !agents.is_empty() => Bearer::Agent { agent: *self.dice.pick(&agents) },
            _ => Bearer::Run { run: RunId::from_bits(1) },
        }
    }

    fn inputs(&mut self) -> BTreeMap<String, Value> {
        let mut inputs: BTreeMap<String, Value> = [("go".to_owned(), self.dice.chance(50).into())].into();
        if self.dice.chance(1) {
            inputs.insert("large".to_owned(), "x".repeat(limits::RUN_INPUTS_BYTES).into());
        }
        inputs
    }

    fn start(&mut self, repeats: Option<RunId>) -> Event {
        self.requests += 1;
        let number = u128::from(self.requests);
        let fresh = if self.dice.chance(97) || self.runs.is_empty() {
            RunId::from_bits(number)
        } else {
            *self.dice.pick(&self.runs)
        };
        let any = usize::try_from(self.dice.below(self.scores.len() as u64)).expect("a few");
        let at = repeats.and_then(|run| self.scores_of.get(&run).copied()).unwrap_or(any);
        let pipeline = self.scores[at].pipeline.clone();
        let lineage = repeats.map(|run| {
            let from = pipeline.stages
                [usize::try_from(self.dice.below(pipeline.stages.len() as u64)).expect("a few")]
            .name
            .clone();
            let forgives = |ix: &StageIx| matches!(&pipeline.stage(*ix).work, Work::Agent(work) if work.continue_on_error);
            let failures = pipeline.places().filter(forgives).filter_map(|ix| {
                let status = self.player.seen().stage(run, ix);
                let failed = matches!(status, StageStatus::Failed | StageStatus::TimedOut);
                failed.then(|| (pipeline.stage(ix).name.clone(), status))
            });
            let forgiven = failures.collect();
            let completed =
                pipeline.places().filter(|ix| self.player.seen().stage(run, *ix) == StageStatus::Completed);
            let nothing = Kept { outputs: BTreeMap::new(), artifacts: Vec::new() };
            let kept = completed.map(|ix| {
                (
                    pipeline.stage(ix).name.clone(),
                    self.kept.get(&(run, ix)).cloned().unwrap_or_else(|| nothing.clone()),
                )
            });
            Lineage { run, from, kept: kept.collect(), forgiven }
        });
        let requester = self.somebody();
        let request = RunRequest {
            run: fresh,
            pipeline: if self.dice.chance(98) { pipeline.digest() } else { Digest::of(b"nowhere") },
            inputs: self.inputs(),
            env: BTreeMap::new(),
            requester,
            grant: self.dice.chance(20).then(|| *self.dice.pick(&Tier::ALL)),
            root: if self.dice.chance(99) {
                "/project".to_owned()
            } else {
                "/".repeat(limits::ROOT_BYTES + 1)
            },
            idempotency_key: self.dice.chance(20).then(|| {
                let most = limits::IDEMPOTENCY_KEY_BYTES;
                if self.dice.chance(97) { format!("k{}", self.dice.below(3)) } else { "k".repeat(most + 1) }
            }),
            lineage,
        };
        self.scores_of.entry(fresh).or_insert(at);
        Event::RunRequested(Box::new(request))
    }
}
