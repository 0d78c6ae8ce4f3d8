//! What people of a world do when something is very wrong, rightly or not: they stop everything, and have what policies deny let
//! pass. All of it is thrown with dice of its own.

use eparch_domain::{Action, BreakGlassId, Digest, Name, Span};
use eparch_governor::{
    Allowed, BreakGlassAnswer, BreakGlassRequest, Event, GateDecision, GlassScope, GlassStands, Key,
    PoliciesAnswer, SignedAnswer,
};

use super::{Act, World};
use crate::people;

/// What is to be let pass: what agents of these worlds are denied, and what nobody may have.
const THINGS: [(Action, &str); 10] = [
    (Action::WriteFile, "src/x"),
    (Action::WriteFile, "src/x"),
    (Action::AnsibleRun, "staging-1"),
    (Action::AnsibleRun, "localhost"),
    (Action::WriteFile, "/project/src/x/"),
    (Action::AnsibleRun, "LOCALHOST."),
    (Action::ReadFile, "docs/guide"),
    (Action::ReadFile, "/project/docs/guide"),
    (Action::ModifyGovernance, "policy"),
    (Action::AnsibleRun, "staging-*"),
];

impl World {
    /// Some worlds have emergencies, now and then several.
    pub(super) fn plan_emergencies(&mut self) {
        let glasses = match self.grim.below(20) {
            // More than there may be at once.
            0..2 => self.grim.between(24, 48),
            2..10 => self.grim.between(1, 12),
            _ => 0,
        };
        for _ in 0..glasses {
            self.grimly(25_000, Act::AskGlass);
        }
        if glasses > 0 && self.grim.chance(60) {
            self.grimly(15_000, Act::PullStrings);
        }
        if self.grim.chance(15) {
            self.grimly(30_000, Act::StopAll);
        }
    }

    pub(super) fn grimly(&mut self, within: u64, act: Act) {
        self.grimly_after(0, within, act);
    }

    /// [`World::grimly`], and not before so many milliseconds have gone.
    pub(super) fn grimly_after(&mut self, wait: u64, within: u64, act: Act) {
        let at = self.now + wait + self.grim.below(within);
        self.acts += 1;
        self.agenda.insert((at, self.acts), act);
    }

    /// Somebody makes a puppet that makes another one, which is to approve what they ask for; now and then with another key of its
    /// own, or of somebody else's making after all.
    pub(super) fn pull_strings(&mut self) -> Vec<Event> {
        let by = people::name(self.grim.pick::<&str>(&["root", "junior", "junior"]));
        let (puppet, doll) = (people::name("puppet"), people::name("doll"));
        let mut events = people::puppets(&by, &puppet, &doll, self.grim.below(1 << 32));
        let rotates = match self.grim.below(4) {
            0 => Some(doll.clone()),
            1 => Some(people::name("root")),
            2 => Some(puppet),
            _ => None,
        };
        events.extend(rotates.map(|by| people::rekeyed(by, &doll, self.grim.below(1 << 32))));
        for _ in 0..3 {
            self.grimly(5_000, Act::AnswerGlass);
        }
        let run = if self.runs.is_empty() { None } else { Some(*self.grim.pick(&self.runs)) };
        let scope = run.map_or(GlassScope::NextRun { of: by.clone() }, |run| GlassScope::Run { run });
        let allows = vec![Allowed { action: Action::WriteFile, target: "src/x".to_owned() }];
        let (time, reason) = (Span::from_mins(1), "production is down".to_owned());
        events.push(Event::BreakGlassRequested(Box::new(BreakGlassRequest {
            by,
            scope,
            allows,
            time,
            reason,
        })));
        events
    }

    fn anybody(&mut self) -> Name {
        let anybody = ["alice", "alice", "frank", "root", "bob", "carol", "dave", "mallory"];
        people::name(self.grim.pick::<&str>(&anybody))
    }

    pub(super) fn stop_all(&mut self) -> Event {
        for _ in 0..self.grim.below(3) {
            self.grimly(20_000, Act::Lift);
        }
        if self.grim.chance(30) {
            self.grimly(20_000, Act::StopAll);
        }
        for _ in 0..2 {
            self.grimly(20_000, Act::Start);
        }
        Event::StopAllRequested { by: self.anybody(), reason: "everything is wrong".to_owned() }
    }

    pub(super) fn lift(&mut self) -> Event {
        let by = if self.grim.chance(70) { people::name("root") } else { self.anybody() };
        Event::StopAllLifted { by, reason: "it is well again".to_owned() }
    }

    pub(super) fn ask_glass(&mut self) -> Event {
        for _ in 0..self.grim.between(1, 3) {
            self.grimly(4_000, Act::AnswerGlass);
        }
        if self.grim.chance(40) {
            self.grimly(30_000, Act::EndGlass);
        }
        let agents: Vec<_> =
            self.player.seen().alive().map(|(agent, of)| (agent, of.run, of.stage)).collect();
        let scope = match self.grim.below(10) {
            0..2 => GlassScope::NextRun { of: self.anybody() },
            2..4 if !agents.is_empty() => GlassScope::Agent { agent: self.grim.pick(&agents).0 },
            4..6 if !agents.is_empty() => {
                let (agent, run, ix) = *self.grim.pick(&agents);
                match self.scores_of.get(&run) {
                    Some(score) => {
                        GlassScope::Stage { run, stage: self.scores[*score].pipeline.stage(ix).name.clone() }
                    }
                    // A run that looks at another one is of no pipeline of this world.
                    None => GlassScope::Agent { agent },
                }
            }
            _ if !self.runs.is_empty() => GlassScope::Run { run: *self.grim.pick(&self.runs) },
            _ => GlassScope::NextRun { of: people::name("alice") },
        };
        let count = self.grim.between(1, 3);
        let allows = (0..count).map(|_| {
            let known = if self.grim.chance(80) { 8 } else { THINGS.len() };
            let (action, target) = *self.grim.pick(&THINGS[..known]);
            Allowed { action, target: target.to_owned() }
        });
        let allows = allows.collect();
        let time = Span::from_millis(*self.grim.pick(&[5_000, 60_000, 600_000, 3_600_000, 3_600_001]));
        let reason = if self.grim.chance(97) { "production is down" } else { " " }.to_owned();
        Event::BreakGlassRequested(Box::new(BreakGlassRequest {
            by: self.anybody(),
            scope,
            allows,
            time,
            reason,
        }))
    }

    /// Somebody answers what waits, mostly; mostly somebody who may, about what is shown.
    pub(super) fn answer_glass(&mut self) -> Option<Event> {
        let known: Vec<_> = self.player.governor().break_glasses().cloned().collect();
        let waiting: Vec<_> = known.iter().filter(|found| found.stands == GlassStands::Waiting).collect();
        if known.is_empty() {
            return None;
        }
        let found = match waiting.is_empty() || self.grim.chance(10) {
            false => (*self.grim.pick(&waiting)).clone(),
            true => self.grim.pick(&known).clone(),
        };
        let by = match self.grim.below(10) {
            0 => found.asked.by.clone(),
            1..3 => self.anybody(),
            _ => people::name(
                self.grim.pick::<&str>(&["bob", "carol", "erin", "erin", "root", "doll", "puppet"]),
            ),
        };
        let key =
            self.player.governor().operators().find(|known| known.name == by).map(|known| known.key.clone());
        let signed = match key {
            Some(Key::Remote { public_key }) => Some(SignedAnswer { signature: "5".repeat(128), public_key }),
            _ => None,
        };
        Some(Event::BreakGlassAnswered(Box::new(BreakGlassAnswer {
            grant: found.asked.grant,
            by,
            signed,
            decision: if self.grim.chance(85) { GateDecision::Approve } else { GateDecision::Deny },
            subject: if self.grim.chance(95) { found.asked.subject } else { Digest::of(b"something else") },
            rationale: if self.grim.chance(95) { "looked at it" } else { "" }.to_owned(),
        })))
    }

    /// Somebody answers for the policies that wait, or for some that do not.
    pub(super) fn answer_policies(&mut self) -> Event {
        let waits = self.player.governor().policies_waiting();
        let waits = waits.map(|(proposed, _)| (proposed.policies, proposed.by.clone()));
        let (policies, asked_by) = waits.unwrap_or_else(|| (Digest::of(b"nothing"), people::name("root")));
        let by = match self.grim.below(10) {
            0 => asked_by,
            1..3 => self.anybody(),
            _ => people::name(
                self.grim.pick::<&str>(&["bob", "carol", "erin", "root", "junior", "doll", "puppet"]),
            ),
        };
        let key =
            self.player.governor().operators().find(|known| known.name == by).map(|known| known.key.clone());
        let signed = match key {
            Some(Key::Remote { public_key }) => Some(SignedAnswer { signature: "5".repeat(128), public_key }),
            _ => None,
        };
        Event::PoliciesAnswered(Box::new(PoliciesAnswer {
            by,
            signed,
            decision: if self.grim.chance(80) { GateDecision::Approve } else { GateDecision::Deny },
            policies: if self.grim.chance(92) { policies } else { Digest::of(b"something else") },
            rationale: if self.grim.chance(95) { "looked at it" } else { "" }.to_owned(),
        }))
    }

    pub(super) fn end_glass(&mut self) -> Option<Event> {
        let known: Vec<_> = self.player.governor().break_glasses().map(|found| found.asked.grant).collect();
        if known.is_empty() {
            return None;
        }
        let grant = if self.grim.chance(10) { BreakGlassId::from_bits(99) } else { *self.grim.pick(&known) };
        Some(Event::BreakGlassEndRequested { grant, by: self.anybody(), reason: "no need".to_owned() })
    }
}
