//! What agents of a world ask to do, how they use what they are let, well or badly, and which policies people offer.

use eparch_domain::{Action, AgentId, Digest, GateId, Name, PermitId, StandingId, Tier};
use eparch_governor::{
    ActionAsked, Event, GateDecision, PromotionAnswer, Ruled, command_params, command_text,
};
use eparch_pipeline::Work;
use eparch_policy::Decision as Says;

use super::{Act, World, commands};
use crate::actors::{self, Temper};
use crate::people;
use crate::policies::Rules;

/// What is asked for: reading mostly, which the policies that ship allow; what no plan holds; what governs; what is people's;
/// what cannot be; and some of it by another name.
const THINGS: [(Action, &str); 14] = [
    (Action::ReadFile, "docs/guide"),
    (Action::ReadFile, "docs/guide"),
    (Action::ReadFile, "docs/guide"),
    (Action::ReadFile, "docs/guide"),
    (Action::AnsibleRun, "staging-1"),
    (Action::AnsibleRun, "staging-1"),
    (Action::AnsibleRun, "staging-2"),
    (Action::WriteFile, "src/x"),
    (Action::ModifyGovernance, "policy"),
    (Action::Approve, "gate-1"),
    (Action::ReadFile, "docs/../secret"),
    (Action::ReadFile, "/project/docs/guide/"),
    (Action::AnsibleRun, "STAGING-1."),
    (Action::AnsibleRun, "LocalHost"),
];

/// What a greedy agent asks for: nothing that is held against it where policies allow anything.
const GREEDY_THINGS: [(Action, &str); 4] = [
    (Action::ReadFile, "docs/guide"),
    (Action::ReadFile, "docs/guide"),
    (Action::ReadFile, "docs/guide"),
    (Action::WriteFile, "src/x"),
];

/// What a greedy one asks for where policies have people asked: more than people are asked at once.
const GREEDY_BUILDERS_THINGS: [(Action, &str); 4] = [
    (Action::ReadFile, "docs/guide"),
    (Action::ReadFile, "docs/guide"),
    (Action::AnsibleRun, "staging-1"),
    (Action::AnsibleRun, "staging-2"),
];

impl World {
    /// An agent will ask for something so often.
    pub(super) fn will_ask(&mut self, agent: AgentId, times: u64, within: u64) {
        for _ in 0..times {
            self.later(within, Act::Ask { agent });
        }
    }

    /// An agent was answered: mostly it uses what it got, soon or much later, or says afterwards that it did.
    pub(super) fn was_ruled(&mut self, ruled: &Ruled) {
        if let (Some(gate), Says::Ask) = (ruled.gate, ruled.verdict.decision) {
            self.questions.insert(gate, (ruled.agent, ruled.key.clone()));
            // Others put other policies in force while people think about it.
            if self.grim.chance(15) {
                self.grimly(8_000, Act::Offer);
            }
        }
        let (agent, Some(given)) = (ruled.agent, ruled.permit) else { return };
        // Others put other policies in force while it has a permit.
        if self.dice.chance(8) {
            self.later(500, Act::Offer);
        }
        // Whoever lives long enough comes with it when it is over, whatever became of it before.
        if self.grim.chance(10) {
            self.grimly_after(60_000, 30_000, Act::Use { agent, permit: given.permit });
        }
        let greedy = self.is_greedy(agent);
        if !self.dice.chance(if greedy { 30 } else { 75 }) {
            return;
        }
        let within = if greedy { 90_000 } else { *self.dice.pick(&[500, 500, 5_000, 90_000]) };
        let permit = given.permit;
        if ruled.params == command_params(&commands::usual()) && self.dice.chance(80) {
            return self.later(within, Act::Perform { agent, permit });
        }
        let act = if self.dice.chance(85) { Act::Use { agent, permit } } else { Act::Tell { agent, permit } };
        self.later(within, act);
    }

    /// People have answered, or will not: mostly the agent comes back for it, now and then much later or twice.
    pub(super) fn was_answered(&mut self, gate: GateId) {
        let Some((agent, key)) = self.questions.get(&gate).cloned() else { return };
        for _ in 0..self.dice.below(3) {
            let within = *self.dice.pick(&[500, 500, 5_000, 90_000]);
            self.later(within, Act::Collect { agent, key: key.clone() });
        }
    }

    /// An agent comes back for an answer, mostly for what it asked.
    pub(super) fn collect(&mut self, agent: AgentId, key: &str) -> Vec<Event> {
        let asked = self.asked.get(&agent).and_then(|asked| asked.iter().find(|asked| asked.key == key));
        let Some(mut asked) = asked.cloned() else { return Vec::new() };
        if self.dice.chance(5) {
            (asked.params, asked.given) = (Digest::of(b"something else"), None);
        }
        vec![Event::ActionAsked(Box::new(asked))]
    }

    /// A permit was used: mostly it is said what came of it.
    pub(super) fn was_spent(&mut self, agent: AgentId, permit: PermitId) {
        let is_performed = self.player.seen().permits.get(&permit).is_some_and(|seen| seen.begun);
        if self.dice.chance(if is_performed { 10 } else { 70 }) {
            let within = *self.dice.pick(&[500, 5_000, 30_000]);
            self.later(within, Act::Tell { agent, permit });
        }
    }

    /// Mostly what it is for; now and then an agent has thought of something else.
    pub(super) fn use_permit(&mut self, agent: AgentId, permit: PermitId) -> Event {
        let seen = self.player.seen().permits.get(&permit).filter(|_| self.dice.chance(90));
        let params = seen.map_or_else(|| Digest::of(b"something else"), |seen| seen.params);
        Event::PermitUsed { agent, permit, params }
    }

    /// Whoever leaves uses what it has left.
    pub(super) fn use_up(&mut self, agent: AgentId) {
        let permits = &self.player.seen().permits;
        let open = permits.iter().filter(|(_, seen)| seen.agent == agent && !seen.spent);
        if let Some(permit) = open.map(|(permit, _)| *permit).next_back() {
            self.later(500, Act::Use { agent, permit });
        }
    }

    pub(super) fn tell(&mut self, agent: AgentId, permit: PermitId) -> Event {
        Event::ActionEnded { agent, permit, ok: self.dice.chance(80), detail: "as far as it went".to_owned() }
    }

    /// An agent asks for something, or shows a permit that is hardly good.
    pub(super) fn ask(&mut self, agent: AgentId) -> Event {
        let greedy = self.is_greedy(agent);
        if self.dice.chance(if greedy { 3 } else { 15 }) {
            return self.show(agent);
        }
        let before = self.asked.get(&agent).filter(|asked| !asked.is_empty()).cloned();
        let things: &[(Action, &str)] = match (greedy, self.builders.contains(&agent)) {
            (true, true) => &GREEDY_BUILDERS_THINGS,
            (true, false) => &GREEDY_THINGS,
            (false, _) => &THINGS,
        };
        let mut asked = self.something(agent, things);
        match before {
            // The same again, in other words or in the same.
            Some(before) if self.dice.chance(20) => {
                let earlier =
                    if self.dice.chance(50) { before.last() } else { Some(self.dice.pick(&before)) };
                let earlier = earlier.expect("it has asked").clone();
                if self.dice.chance(75) {
                    asked = earlier;
                } else {
                    asked.key = earlier.key;
                }
            }
            // Whoever is denied may insist.
            Some(before) if !greedy && self.dice.chance(45) => {
                let last = before.last().expect("it has asked");
                (asked.action, asked.target) = (last.action, last.target.clone());
            }
            _ => {}
        }
        self.asked.entry(agent).or_default().push(asked.clone());
        Event::ActionAsked(Box::new(asked))
    }

    fn something(&mut self, agent: AgentId, things: &[(Action, &str)]) -> ActionAsked {
        let (action, target) = *self.dice.pick(things);
        self.keys += 1;
        let (given, params) = match self.dice.below(10) {
            0..5 => (Some(command_text(&commands::usual())), command_params(&commands::usual())),
            5..8 => (Some("{}".to_owned()), Digest::of(b"{}")),
            // Nobody is told more than the digest; or something else than it is of.
            8 => (None, Digest::of(b"[]")),
            _ => (self.dice.chance(30).then(|| "{}".to_owned()), Digest::of(b"[]")),
        };
        ActionAsked {
            agent,
            tenant: people::name("acme"),
            project: people::name("web"),
            action,
            target: target.to_owned(),
            params,
            given,
            key: format!("k{}", self.keys),
        }
    }

    /// A permit of the agent's own, used or not, now and then for something else; one that nobody has; another agent's.
    fn show(&mut self, agent: AgentId) -> Event {
        let permits = self.player.seen().permits.iter();
        let living = permits.filter(|(_, permit)| !self.has_ended(permit.agent));
        let (own, others): (Vec<_>, Vec<_>) = living.partition(|(_, permit)| permit.agent == agent);
        let ids = |permits: Vec<(&PermitId, _)>| permits.into_iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let (own, others) = (ids(own), ids(others));
        let permit = match self.dice.below(10) {
            0..6 if !own.is_empty() => *self.dice.pick(&own),
            6..8 if !others.is_empty() => *self.dice.pick(&others),
            _ => PermitId::from_bits(7),
        };
        if self.dice.chance(20) {
            return self.tell(agent, permit);
        }
        self.use_permit(agent, permit)
    }

    /// The token of somebody who works, of somebody who does not any more, or of nobody.
    pub(super) fn show_token(&mut self, agent: AgentId) -> Event {
        let others: Vec<AgentId> =
            self.player.seen().agents.keys().copied().filter(|other| *other != agent).collect();
        let nobody = others.is_empty() || self.grim.chance(10);
        let token = if nobody { Digest::of(b"invented") } else { actors::token_of(*self.grim.pick(&others)) };
        Event::TokenShown { agent, token }
    }

    fn is_greedy(&self, agent: AgentId) -> bool {
        self.tempers.get(&agent) == Some(&Temper::Greedy)
    }

    /// Somebody asks for a promotion, answers one that nobody asked for, or lowers what cannot be lower.
    pub(super) fn promote(&mut self) -> Event {
        let by = self.somebody();
        let score = self.dice.pick(&self.scores).clone();
        let standings: Vec<StandingId> = score
            .pipeline
            .stages
            .iter()
            .filter_map(|stage| match &stage.work {
                Work::Agent(work) => Some(work.standing()),
                _ => None,
            })
            .collect();
        let known = !standings.is_empty() && self.dice.chance(90);
        let standing = if known { *self.dice.pick(&standings) } else { StandingId::from_bits(9) };
        match self.dice.below(3) {
            0 => Event::DemotionRequested { standing, by, reason: "not any more".to_owned() },
            1 => Event::PromotionAnswered(PromotionAnswer {
                standing,
                by,
                signed: None,
                decision: GateDecision::Approve,
                subject: Digest::of(b"something"),
                rationale: "looks right".to_owned(),
            }),
            _ => {
                let to = self.dice.chance(20).then_some(Tier::T2);
                Event::PromotionRequested { standing, by, to, rationale: "it earned it".to_owned() }
            }
        }
    }

    /// A holder begins with the policies of its home, which mostly are those that ship; somebody offers any.
    pub(super) fn offer(&mut self, by: Option<Name>) -> Event {
        let usual = if by.is_some() { 45 } else { 90 };
        let rules = if self.dice.chance(usual) { self.usual } else { Rules::Closed };
        let nowhere = by.is_some() && self.dice.chance(8);
        let policies = if nowhere { Digest::of(b"nowhere") } else { rules.set().digest() };
        Event::PoliciesOffered { by, policies }
    }
}
