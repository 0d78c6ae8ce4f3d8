//! What agents ask to do: what the policies of these worlds say to it, what may be done once, and what is held against
//! whoever insists.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{
    Action, AgentId, Digest, GateId, LedgerTime, Name, PermitId, StandingId, Tier, ViolationType, limits,
};
use eparch_governor::{ActionAsked, Answer, Decision, Fact, PerformanceEnd};
use eparch_policy::Decision as Says;

use super::Model;
use super::agent::Agent;
use super::questions::Waits;
use crate::policies::Rules;

/// What is found to be so of what agents ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    InForce(Digest),
    Allowed,
    /// People are asked.
    Asked,
    /// And whether asking again later may help.
    Denied(bool),
    Spent(PermitId),
    Performed(PermitId),
    LetGo(PermitId),
    /// And whether nobody knows what it did.
    Over(PermitId, bool),
    NoGood(PermitId),
    Done(PermitId),
    Violated(ViolationType),
    Alerted(ViolationType),
    /// To which tier.
    Lowered(StandingId, Tier),
    /// Nobody earns one here.
    Promoted,
}

/// What a decision found of it, in order.
pub(super) fn words_of(decision: &Decision) -> impl Iterator<Item = Word> + '_ {
    decision.facts.iter().filter_map(|fact| match fact {
        Fact::PoliciesInForce { policies, .. } => Some(Word::InForce(*policies)),
        Fact::ActionDecided(ruled) if ruled.verdict.decision == Says::Allow => Some(Word::Allowed),
        Fact::ActionDecided(ruled) if ruled.verdict.decision == Says::Ask => Some(Word::Asked),
        Fact::ActionDecided(ruled) => Some(Word::Denied(ruled.verdict.retryable)),
        Fact::PermitSpent { permit, .. } => Some(Word::Spent(*permit)),
        Fact::PerformanceBegan { permit, .. } => Some(Word::Performed(*permit)),
        Fact::PerformanceReleased { permit, .. } => Some(Word::LetGo(*permit)),
        Fact::PerformanceEnded { permit, end, .. } => {
            Some(Word::Over(*permit, *end == PerformanceEnd::Unknown))
        }
        Fact::PermitRefused { permit, .. } => Some(Word::NoGood(*permit)),
        Fact::ActionEnded { permit, .. } => Some(Word::Done(*permit)),
        Fact::ViolationFound { violation, .. } => Some(Word::Violated(*violation)),
        Fact::AlertRaised { violation, .. } => Some(Word::Alerted(*violation)),
        Fact::StandingLowered { standing, to, .. } => Some(Word::Lowered(*standing, *to)),
        Fact::PromotionRequested(_) | Fact::PromotionApproved { .. } => Some(Word::Promoted),
        _ => None,
    })
}

/// What one agent asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Actions {
    /// What is remembered of it, oldest first.
    asked: Vec<Asked>,
    /// How often what cannot help to be asked again was denied.
    denied: BTreeMap<(Action, String), u32>,
}

#[derive(Debug, Clone)]
struct Asked {
    key: String,
    action: Action,
    target: String,
    params: Digest,
    permit: Option<Permit>,
    /// Where it stands with people.
    waits: Waits,
    /// Under which policies a person said no to it.
    refused: Option<Rules>,
}

#[derive(Debug, Clone, Copy)]
struct Permit {
    id: PermitId,
    until: LedgerTime,
    under: Option<Rules>,
    /// How many people said yes to it.
    approvals: u32,
    stands: Stands,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Open,
    Doing,
    Performing,
    Over,
}

impl Asked {
    /// Whether it was for the very same thing.
    fn is(&self, asked: &ActionAsked) -> bool {
        (self.action, &self.target, self.params) == (asked.action, &asked.target, asked.params)
    }

    /// Whether something may still come of it.
    fn is_open(&self, now: LedgerTime) -> bool {
        self.permit.is_some_and(|permit| match permit.stands {
            Stands::Open => now < permit.until,
            Stands::Doing | Stands::Performing => true,
            Stands::Over => false,
        })
    }
}

impl Actions {
    fn remember(&mut self, asked: Asked, now: LedgerTime) {
        self.asked.retain(|before| before.key != asked.key);
        self.asked.push(asked);
        let over = |asked: &Asked| !asked.is_open(now) && asked.waits == Waits::No;
        if self.asked.len() > limits::ACTIONS_REMEMBERED
            && let Some(at) = self.asked.iter().position(over)
        {
            self.asked.remove(at);
        }
    }

    fn at(&mut self, gate: GateId) -> Option<&mut Asked> {
        self.asked.iter_mut().find(|asked| asked.waits == Waits::ForPeople(gate))
    }

    /// What became of a question. Its answer is the last thing that was answered.
    pub(super) fn stands(&mut self, gate: GateId, waits: Waits) {
        let Some(asked) = self.at(gate) else { return };
        asked.waits = waits;
        if waits == Waits::No {
            let asked = asked.clone();
            self.asked.retain(|other| other.key != asked.key);
            self.asked.push(asked);
        }
    }

    /// A person said no.
    pub(super) fn refuse(&mut self, gate: GateId, rules: Option<Rules>) {
        let Some(asked) = self.at(gate) else { return };
        asked.refused = rules;
        let thing = (asked.action, asked.target.clone());
        self.stands(gate, Waits::No);
        *self.denied.entry(thing).or_default() += 1;
    }

    /// Whatever waits, for people or for its agent, is answered with no; how much that was.
    pub(super) fn give_up_waiting(&mut self) -> usize {
        let (mut waiting, others): (Vec<Asked>, _) =
            std::mem::take(&mut self.asked).into_iter().partition(|asked| asked.waits != Waits::No);
        // Those for people first: in this order they are answered, and forgotten.
        waiting.sort_by_key(|asked| asked.waits);
        waiting.iter_mut().for_each(|asked| asked.waits = Waits::No);
        let count = waiting.len();
        self.asked = others.into_iter().chain(waiting).collect();
        count
    }

    fn permit(&mut self, id: PermitId) -> Option<(&mut Permit, Action, Digest)> {
        self.asked.iter_mut().find_map(|asked| {
            let permit = asked.permit.as_mut().filter(|permit| permit.id == id)?;
            Some((permit, asked.action, asked.params))
        })
    }

    fn has(&self, id: PermitId) -> bool {
        self.asked.iter().any(|asked| asked.permit.is_some_and(|permit| permit.id == id))
    }
}

/// What policies say to the few things that agents of these worlds ask for. Of what changes something only work on staging is
/// planned, and not by everybody.
fn says(rules: Option<Rules>, action: Action, agent: &Agent, approvals: u32) -> Word {
    match (rules, action) {
        // Nothing is allowed that nobody allows (G4), and what governs is people's (G5).
        (None, _) | (_, Action::ModifyGovernance | Action::Approve) => Word::Denied(false),
        // Another phase, or a plan, may bring it.
        (Some(_), Action::WriteFile) => Word::Denied(true),
        (Some(_), Action::AnsibleRun) if !agent.works() || !agent.plans_staging => Word::Denied(true),
        (Some(_), _) if !agent.is_set_up() => Word::Denied(true),
        (Some(Rules::Closed), _) => Word::Denied(false),
        (Some(_), Action::AnsibleRun) if agent.tier < Tier::T2 => Word::Denied(false),
        (Some(_), Action::AnsibleRun) if approvals == 0 => Word::Asked,
        (Some(Rules::Defaults | Rules::Few), _) => Word::Allowed,
    }
}

impl Model {
    pub(super) fn offered(&mut self, by: Option<&Name>, policies: Digest) -> BTreeSet<&'static str> {
        let mut refusals = BTreeSet::new();
        match by.map(|by| self.people.get(by)) {
            None => {}
            Some(None) => drop(refusals.insert("EP0204")),
            Some(Some(person)) => refusals.extend((!person.administers()).then_some("EP0205")),
        }
        let rules = Rules::of(policies);
        refusals.extend(rules.is_none().then_some("EP0215"));
        if refusals.is_empty() && rules != self.rules {
            self.rules = rules;
            self.said.push(Word::InForce(policies));
            self.questions_are_void();
        }
        refusals
    }

    /// Why nothing that an agent asks for counts (G2), if that is so.
    fn without_authority(&mut self, id: AgentId) -> Option<&'static str> {
        match self.agent(id) {
            None => Some("EP0214"),
            Some(agent) if !agent.has_authority() => Some("EP0610"),
            Some(_) => self.has_expired(id).then_some("EP0660"),
        }
    }

    pub(super) fn asked(
        &mut self,
        asked: &ActionAsked,
        decision: &Decision,
    ) -> Result<BTreeSet<&'static str>, String> {
        if let Some(refusal) = self.without_authority(asked.agent) {
            return Ok([refusal].into());
        }
        let (now, rules) = (self.now, self.rules);
        let Some(agent) = self.agent(asked.agent) else { return Ok(BTreeSet::new()) };
        let open = agent.actions.asked.iter().filter(|asked| asked.is_open(now)).count();
        let waiting = agent.actions.asked.iter().filter(|asked| asked.waits != Waits::No).count();
        let before = agent.actions.asked.iter().find(|before| before.key == asked.key).cloned();
        let (mut word, mut approvals, mut refused) = (says(rules, asked.action, agent, 0), 0, None);
        match before.as_ref().map(|before| (before, before.waits)) {
            Some((before, _)) if !before.is(asked) => return Ok(["EP0611"].into()),
            // What people approved is decided on once more, and that is the end of their approval.
            Some((_, Waits::ForAgent(_, yes, until))) => {
                if open >= limits::OPEN_PERMITS {
                    return Ok(["EP0612"].into());
                }
                approvals = yes;
                word = match says(rules, asked.action, agent, yes) {
                    _ if now >= until => Word::Denied(true),
                    Word::Asked => Word::Denied(true),
                    word => word,
                };
            }
            Some((before, _)) => {
                let permit = before.permit.map(|permit| permit.id);
                return match &decision.answer {
                    Answer::Ruled(ruled) if ruled.permit.map(|given| given.permit) != permit => {
                        Err(format!("{} was answered otherwise when it was asked again", asked.key))
                    }
                    _ => Ok(["ruled"].into()),
                };
            }
            None => {
                let mut refusals = BTreeSet::new();
                refusals.extend((open >= limits::OPEN_PERMITS).then_some("EP0612"));
                refusals.extend(asked.target.contains("..").then_some("EP0613"));
                if !refusals.is_empty() {
                    return Ok(refusals);
                }
                let no_before =
                    |before: &Asked| before.is(asked) && before.refused.is_some() && before.refused == rules;
                if word == Word::Asked && agent.actions.asked.iter().any(no_before) {
                    (word, refused) = (Word::Denied(false), rules);
                } else if word == Word::Asked && waiting >= limits::OPEN_QUESTIONS {
                    return Ok(["EP0621"].into());
                }
            }
        }
        let waits =
            if word == Word::Asked { Waits::ForPeople(self.question(asked, decision)?) } else { Waits::No };
        let given = decision.facts.iter().find_map(|fact| match fact {
            Fact::ActionDecided(ruled) if (ruled.agent, &ruled.key) == (asked.agent, &asked.key) => {
                ruled.permit
            }
            _ => None,
        });
        // Which name a permit has only the decision can tell; that what is denied has none is looked at elsewhere.
        let permit = given.filter(|_| word == Word::Allowed).map(|given| Permit {
            id: given.permit,
            until: now.after(limits::PERMIT_TTL),
            under: rules,
            approvals,
            stands: Stands::Open,
        });
        let (key, action, target, params) =
            (asked.key.clone(), asked.action, asked.target.clone(), asked.params);
        let Some(agent) = self.agent(asked.agent) else { return Ok(BTreeSet::new()) };
        let denied_before = agent.actions.denied.get(&(action, target.clone())).copied().unwrap_or_default();
        if word == Word::Denied(false) {
            agent.actions.denied.insert((action, target.clone()), denied_before + 1);
        }
        agent.actions.remember(Asked { key, action, target, params, permit, waits, refused }, now);
        self.said.push(word);
        // A denial alone is none; it becomes one at the third repeat (1.4).
        if word == Word::Denied(false) && denied_before >= 3 {
            let violation = match action {
                Action::ModifyGovernance => ViolationType::GovernanceTampering,
                _ => ViolationType::ForbiddenAction,
            };
            self.violates(asked.agent, violation);
        }
        Ok(BTreeSet::new())
    }

    /// A permit is shown: by whoever is about to do what it is for, with the arguments it has, or who has done it.
    pub(super) fn permit_used(
        &mut self,
        id: AgentId,
        permit: PermitId,
        params: Option<Digest>,
    ) -> BTreeSet<&'static str> {
        let refusal = self.without_authority(id).or_else(|| self.spend(id, permit, params));
        refusal.into_iter().collect()
    }

    fn spend(&mut self, id: AgentId, permit: PermitId, params: Option<Digest>) -> Option<&'static str> {
        let (now, rules) = (self.now, self.rules);
        let anothers = self.agents().any(|(_, _, agent)| agent.id != id && agent.actions.has(permit));
        let agent = self.agent(id)?;
        let as_it_is = agent.clone();
        let (code, violation) = match agent.actions.permit(permit) {
            None if anothers => ("EP0615", Some(ViolationType::IdentityForgery)),
            None => ("EP0614", None),
            Some((given, ..)) if given.stands != Stands::Open => ("EP0616", None),
            Some((given, ..)) if now >= given.until => ("EP0617", None),
            Some((_, _, asked)) if params.is_some_and(|params| params != asked) => {
                ("EP0618", Some(ViolationType::ApprovalBypass))
            }
            Some((given, ..)) if given.under != rules => ("EP0619", None),
            Some((given, action, _)) if says(rules, action, &as_it_is, given.approvals) != Word::Allowed => {
                ("EP0620", None)
            }
            Some((given, ..)) => {
                given.stands = Stands::Doing;
                self.said.push(Word::Spent(permit));
                return None;
            }
        };
        self.said.push(Word::NoGood(permit));
        if let Some(violation) = violation {
            self.violates(id, violation);
        }
        Some(code)
    }

    pub(super) fn action_ended(&mut self, id: AgentId, permit: PermitId) -> BTreeSet<&'static str> {
        if let Some(refusal) = self.without_authority(id) {
            return [refusal].into();
        }
        let stands = self.agent(id).and_then(|agent| Some(agent.actions.permit(permit)?.0.stands));
        let refusal = match stands {
            // What is performed for it others tell.
            Some(Stands::Over | Stands::Performing) => Some("EP0616"),
            Some(Stands::Doing) => None,
            // What it did by itself is told afterwards.
            Some(Stands::Open) | None => self.spend(id, permit, None),
        };
        if refusal.is_none() {
            if let Some((given, ..)) = self.agent(id).and_then(|agent| agent.actions.permit(permit)) {
                given.stands = Stands::Over;
            }
            self.said.push(Word::Done(permit));
            self.moved_on(id);
        }
        refusal.into_iter().collect()
    }

    /// A permit is shown for a command: with the command it is for, in EXECUTE, and not for more than two at once.
    pub(super) fn performance_asked(
        &mut self,
        id: AgentId,
        permit: PermitId,
        params: Digest,
    ) -> Option<&'static str> {
        if let Some(refusal) = self.without_authority(id) {
            return Some(refusal);
        }
        let agent = self.agent(id)?;
        if !agent.executes() {
            return Some("EP0610");
        }
        if agent.performing.len() >= 2 {
            return Some("EP0630");
        }
        if let Some(refusal) = self.spend(id, permit, Some(params)) {
            return Some(refusal);
        }
        // Work on staging is out of reach from here: its permit is as good as it was.
        if let Some((given, Action::AnsibleRun, _)) = self.agent(id)?.actions.permit(permit) {
            given.stands = Stands::Open;
            self.said.pop();
            return Some("EP0632");
        }
        self.said.push(Word::Performed(permit));
        let agent = self.agent(id)?;
        if let Some((given, ..)) = agent.actions.permit(permit) {
            given.stands = Stands::Performing;
        }
        agent.performing.insert(permit, false);
        agent.stand_still();
        None
    }

    /// What is to be performed could be let go.
    pub(super) fn performance_ready(&mut self, id: AgentId, permit: PermitId) -> Option<&'static str> {
        if let Some(refusal) = self.without_authority(id) {
            return Some(refusal);
        }
        let agent = self.agent(id)?;
        if !agent.executes() {
            return Some("EP0610");
        }
        match agent.performing.get_mut(&permit) {
            None => Some("EP0614"),
            Some(true) => Some("EP0616"),
            Some(let_go) => {
                *let_go = true;
                self.said.push(Word::LetGo(permit));
                None
            }
        }
    }

    /// What was performed is over. Nobody believes of what was never let go that it ran.
    pub(super) fn performance_ended(&mut self, id: AgentId, permit: PermitId, end: &PerformanceEnd) {
        let Some(agent) = self.agent(id).filter(|agent| !agent.cut_off) else { return };
        let ran = !matches!(end, PerformanceEnd::NeverRan { .. });
        match agent.performing.get(&permit) {
            None => return,
            Some(let_go) if ran && !let_go => return,
            Some(_) => drop(agent.performing.remove(&permit)),
        }
        if let Some((given, ..)) = agent.actions.permit(permit) {
            given.stands = Stands::Over;
        }
        self.said.push(Word::Over(permit, *end == PerformanceEnd::Unknown));
        self.moved_on(id);
    }

    /// What is CRITICAL takes the authority of the whole run; of what is HIGH the second takes the agent's (1.4, R199).
    fn violates(&mut self, id: AgentId, violation: ViolationType) {
        self.said.push(Word::Violated(violation));
        let (now, place) =
            (self.now, self.agents().find(|(_, _, agent)| agent.id == id).map(|(run, ix, _)| (run, ix)));
        let Some((run, ix)) = place else { return };
        if let Some(agent) = self.agent(id) {
            agent.wrong += 1;
        }
        self.costs(run, ix, violation);
        match violation {
            ViolationType::GovernanceTampering | ViolationType::IdentityForgery => self.revoke_run(run),
            _ => {
                if let Some(agent) = self.agent(id) {
                    agent.skips_procedure(now);
                }
            }
        }
    }
}
