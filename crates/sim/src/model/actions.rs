//! What agents ask to do: what the policies of these worlds say to it, what may be done once, and what is held against
//! whoever insists.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{
    Action, AgentId, BreakGlassId, Digest, GateId, Moment, Name, PermitId, StandingId, Tier, ViolationType,
    limits,
};
use eparch_governor::{ActionAsked, Alarm, Answer, Decision, Fact, PerformanceEnd};
use eparch_policy::Decision as Says;

use super::Model;
use super::agent::Agent;
use super::leases::Ends;
use super::questions::Waits;
use crate::glass::one_thing;
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
    /// Something was let pass under a grant that had not been before.
    LetPass(BreakGlassId),
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
        Fact::AlarmRaised { alarm: Alarm::BreakGlassUsed { grant, .. }, .. } => Some(Word::LetPass(*grant)),
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
    /// Who said yes to it.
    by: BTreeSet<Name>,
    /// Whether one of those may act no longer.
    unsaid: bool,
}

#[derive(Debug, Clone, Copy)]
struct Permit {
    id: PermitId,
    until: Ends,
    under: Option<Rules>,
    /// How many people said yes to it.
    approvals: u32,
    /// Under which grant it is let pass.
    glass: Option<BreakGlassId>,
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
    fn is_open(&self, now: Moment) -> bool {
        self.permit.is_some_and(|permit| match permit.stands {
            Stands::Open => !permit.until.is_over(now),
            Stands::Doing | Stands::Performing => true,
            Stands::Over => false,
        })
    }
}

impl Actions {
    fn remember(&mut self, asked: Asked, now: Moment) {
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

    /// A person said no to this.
    pub(super) fn refuse(&mut self, gate: GateId) -> Option<(Action, String)> {
        let asked = self.at(gate)?;
        let thing = (asked.action, asked.target.clone());
        self.stands(gate, Waits::No);
        *self.denied.entry(thing.clone()).or_default() += 1;
        Some(thing)
    }

    /// These people said yes.
    pub(super) fn approved(&mut self, gate: GateId, by: BTreeSet<Name>) {
        if let Some(asked) = self.at(gate) {
            asked.by = by;
        }
    }

    /// The wall clock was set back.
    pub(super) fn end_sooner(&mut self, now: Moment) {
        for asked in &mut self.asked {
            if let Waits::ForAgent(_, _, until) = &mut asked.waits {
                until.end_sooner(now);
            }
            if let Some(permit) = &mut asked.permit {
                permit.until.end_sooner(now);
            }
        }
    }

    /// Somebody may act no longer.
    pub(super) fn unsay(&mut self, name: &Name) {
        for asked in &mut self.asked {
            asked.unsaid |= asked.by.contains(name);
        }
    }

    /// Whatever waits, for people at one of these gates or for its agent, is answered with no; how much that was. What nobody is
    /// asked any more since its agent's program has ended is answered by nobody.
    pub(super) fn give_up_waiting(&mut self, open: &[GateId]) -> usize {
        let waits = |asked: &Asked| match &asked.waits {
            Waits::No => false,
            Waits::ForPeople(gate) => open.contains(gate),
            Waits::ForAgent(..) => true,
        };
        let (mut waiting, others): (Vec<Asked>, _) =
            std::mem::take(&mut self.asked).into_iter().partition(waits);
        // Those for people first: in this order they are answered, and forgotten.
        waiting.sort_by_key(|asked| asked.waits);
        waiting.iter_mut().for_each(|asked| asked.waits = Waits::No);
        let count = waiting.len();
        self.asked = others.into_iter().chain(waiting).collect();
        count
    }

    /// The thing that a permit is for, and whether whoever approved it may still act.
    fn thing(&self, id: PermitId) -> Option<((Action, String), bool)> {
        let has = |asked: &&Asked| asked.permit.is_some_and(|permit| permit.id == id);
        let asked = self.asked.iter().find(has)?;
        Some(((asked.action, asked.target.clone()), !asked.unsaid))
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

/// The one machine that is worked on from here.
const THIS_MACHINE: &str = "localhost";

/// What policies say to the few things that agents of these worlds ask for. Of what changes something only work on staging is
/// planned, and not by everybody.
fn says(rules: Option<Rules>, action: Action, target: &str, agent: &Agent, approvals: u32) -> Word {
    match (rules, action) {
        // Nothing is allowed that nobody allows (G4), and what governs is people's (G5).
        (None, _) | (_, Action::ModifyGovernance | Action::Approve) => Word::Denied(false),
        // Another phase, or a plan, may bring it.
        (Some(_), Action::WriteFile) => Word::Denied(true),
        // No plan holds what is done on this machine.
        (Some(_), Action::AnsibleRun) if !agent.works() || !agent.plans_staging || target == THIS_MACHINE => {
            Word::Denied(true)
        }
        (Some(_), _) if !agent.is_set_up() => Word::Denied(true),
        (Some(Rules::Closed), _) => Word::Denied(false),
        (Some(_), Action::AnsibleRun) if agent.tier < Tier::T2 => Word::Denied(false),
        (Some(_), Action::AnsibleRun) if approvals == 0 => Word::Asked,
        (Some(Rules::Defaults | Rules::Few), _) => Word::Allowed,
    }
}

/// Whether people may let pass what policies deny so: that nothing permits it, or that no plan holds it, but not the phase.
fn may_break(rules: Option<Rules>, action: Action, agent: &Agent) -> bool {
    let in_its_time = match action {
        Action::ReadFile => agent.is_set_up(),
        Action::WriteFile | Action::AnsibleRun => agent.works(),
        _ => false,
    };
    rules.is_some() && in_its_time
}

/// Whether what a permit was given for is still let be done in the same way: by policies, or by the same grant.
fn is_as_it_was(
    rules: Option<Rules>,
    (action, target): (Action, &str),
    agent: &Agent,
    (given, covered): (&Permit, Option<BreakGlassId>),
) -> bool {
    match says(rules, action, target, agent, given.approvals) {
        Word::Allowed => given.glass.is_none(),
        Word::Denied(_) => may_break(rules, action, agent) && given.glass.is_some() && given.glass == covered,
        _ => false,
    }
}

impl Model {
    /// Why nothing that an agent asks for counts (G2), if that is so.
    fn without_authority(&mut self, id: AgentId) -> Option<&'static str> {
        if self.stopped {
            return Some("EP0650");
        }
        match self.agent(id) {
            None => Some("EP0214"),
            Some(agent) if agent.is_without_lock() => Some("EP0670"),
            Some(agent) if !agent.has_authority() => Some("EP0610"),
            Some(_) => self.has_expired(id).then_some("EP0660"),
        }
    }

    pub(super) fn asked(
        &mut self,
        asked: &ActionAsked,
        decision: &Decision,
    ) -> Result<BTreeSet<&'static str>, String> {
        self.asks_without_lock(asked.agent);
        if let Some(refusal) = self.without_authority(asked.agent) {
            return Ok([refusal].into());
        }
        // Whatever it is called, it is one thing.
        let target = one_thing(asked.action, &asked.target);
        let asked = &ActionAsked { target, ..asked.clone() };
        let (now, rules) = (self.moment(), self.rules);
        let (denied, room) = self.said_no_to(asked);
        let Some(agent) = self.agent(asked.agent) else { return Ok(BTreeSet::new()) };
        let open = agent.actions.asked.iter().filter(|asked| asked.is_open(now)).count();
        let waiting = agent.actions.asked.iter().filter(|asked| asked.waits != Waits::No).count();
        let before = agent.actions.asked.iter().find(|before| before.key == asked.key).cloned();
        let (mut word, mut approvals) = (says(rules, asked.action, &asked.target, agent, 0), 0);
        let (mut by, mut insists) = (BTreeSet::new(), true);
        let breakable = may_break(rules, asked.action, agent);
        let mut is_of_policy = true;
        match before.as_ref().map(|before| (before, before.waits)) {
            Some((before, _)) if !before.is(asked) => return Ok(["EP0611"].into()),
            // What people approved is decided on once more, and that is the end of their approval.
            Some((before, Waits::ForAgent(_, yes, until))) => {
                if open >= limits::OPEN_PERMITS {
                    return Ok(["EP0612"].into());
                }
                (approvals, by) = (yes, before.by.clone());
                insists = !denied;
                let by_policy = says(rules, asked.action, &asked.target, agent, yes);
                is_of_policy = !denied && !until.is_over(now) && !before.unsaid && by_policy != Word::Asked;
                word = match by_policy {
                    _ if denied => Word::Denied(false),
                    _ if until.is_over(now) || before.unsaid => Word::Denied(true),
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
                let differ = |given: &String| Digest::of(given.as_bytes()) != asked.params;
                refusals.extend(asked.given.as_ref().is_some_and(differ).then_some("EP0622"));
                refusals.extend((open >= limits::OPEN_PERMITS).then_some("EP0612"));
                refusals.extend(asked.target.contains("..").then_some("EP0613"));
                if !refusals.is_empty() {
                    return Ok(refusals);
                }
                if denied && !matches!(word, Word::Denied(_)) {
                    (word, is_of_policy) = (Word::Denied(false), false);
                } else if word == Word::Asked && waiting >= limits::OPEN_QUESTIONS {
                    return Ok(["EP0621"].into());
                } else if word == Word::Asked && !room {
                    return Err("people said no to more than there is in these worlds".to_owned());
                }
            }
        }
        let mut glass = None;
        if is_of_policy && breakable && matches!(word, Word::Denied(_)) {
            glass = self.glass_over_it(asked.agent, asked.action, &asked.target);
            // A person's no outweighs what two others let pass.
            word = match glass {
                Some(_) if denied => Word::Denied(false),
                Some(_) => Word::Allowed,
                None => word,
            };
            glass = glass.filter(|_| !denied);
        }
        let left = glass.and_then(|grant| self.glass_left(grant));
        let waits =
            if word == Word::Asked { Waits::ForPeople(self.question(asked, decision)?) } else { Waits::No };
        let given = decision.facts.iter().find_map(|fact| match fact {
            Fact::ActionDecided(ruled) if (ruled.agent, &ruled.key) == (asked.agent, &asked.key) => {
                ruled.permit
            }
            _ => None,
        });
        let most = left.map_or(limits::PERMIT_TTL, |left| left.min(limits::PERMIT_TTL));
        let until = self.in_millis(most.millis());
        // Which name a permit has only the decision can tell; that what is denied has none is looked at elsewhere.
        let permit = given.filter(|_| word == Word::Allowed).map(|given| Permit {
            id: given.permit,
            until,
            under: rules,
            approvals,
            glass,
            stands: Stands::Open,
        });
        let (key, action, target, params) =
            (asked.key.clone(), asked.action, asked.target.clone(), asked.params);
        let Some(agent) = self.agent(asked.agent) else { return Ok(BTreeSet::new()) };
        let denied_before = agent.actions.denied.get(&(action, target.clone())).copied().unwrap_or_default();
        let held_against_it = word == Word::Denied(false) && insists;
        if held_against_it {
            agent.actions.denied.insert((action, target.clone()), denied_before + 1);
        }
        let answered = Asked { key, action, target, params, permit, waits, by, unsaid: false };
        agent.actions.remember(answered, now);
        self.said.push(word);
        if let Some(grant) = glass
            && self.glass_is_used(grant, asked.action, &asked.target)
        {
            self.said.push(Word::LetPass(grant));
        }
        // A denial alone is none; it becomes one at the third repeat (1.4).
        if held_against_it && denied_before >= 3 {
            let violation = match action {
                Action::ModifyGovernance => ViolationType::GovernanceTampering,
                _ => ViolationType::ForbiddenAction,
            };
            self.violates(asked.agent, violation);
        }
        Ok(BTreeSet::new())
    }

    /// Whether somebody said no to this in the run, and whether one more no could be remembered.
    fn said_no_to(&self, asked: &ActionAsked) -> (bool, bool) {
        let Some((run, ..)) = self.agents().find(|(_, _, agent)| agent.id == asked.agent) else {
            return (false, true);
        };
        let denied = &self.runs[&run].denied;
        let open = self.questions().filter(|(of, ..)| *of == run).count();
        let thing = (asked.action, asked.target.clone());
        (denied.contains(&thing), denied.len() + open < limits::DENIALS_REMEMBERED)
    }

    /// Why what a permit is for is not let be done any more, now that somebody is about to do it.
    fn no_longer(&mut self, id: AgentId, permit: PermitId) -> Option<&'static str> {
        let rules = self.rules;
        let run = self.agents().find(|(_, _, agent)| agent.id == id).map(|(run, ..)| run)?;
        let denied = self.runs[&run].denied.clone();
        let thing = self.agent(id)?.actions.thing(permit).map(|(thing, _)| thing);
        let covered = thing.and_then(|(action, target)| self.glass_over_it(id, action, &target));
        let agent = self.agent(id)?;
        let as_it_is = agent.clone();
        let (thing, approved) = agent.actions.thing(permit)?;
        let (given, action, _) = agent.actions.permit(permit)?;
        match () {
            () if given.under != rules => Some("EP0619"),
            () if denied.contains(&thing) || !approved => Some("EP0620"),
            () if !is_as_it_was(rules, (action, &thing.1), &as_it_is, (given, covered)) => Some("EP0620"),
            () => None,
        }
    }

    /// A permit is shown: by whoever is about to do what it is for, with the arguments it has, or who has done it.
    pub(super) fn permit_used(
        &mut self,
        id: AgentId,
        permit: PermitId,
        params: Option<Digest>,
    ) -> BTreeSet<&'static str> {
        self.asks_without_lock(id);
        let refusal = self.without_authority(id).or_else(|| self.spend(id, permit, params));
        refusal.into_iter().collect()
    }

    fn spend(&mut self, id: AgentId, permit: PermitId, params: Option<Digest>) -> Option<&'static str> {
        let now = self.moment();
        let no_longer = self.no_longer(id, permit);
        let anothers = self.agents().any(|(_, _, agent)| agent.id != id && agent.actions.has(permit));
        let agent = self.agent(id)?;
        let (code, violation) = match agent.actions.permit(permit) {
            None if anothers => ("EP0615", Some(ViolationType::IdentityForgery)),
            None => ("EP0614", None),
            Some((given, ..)) if given.stands != Stands::Open => ("EP0616", None),
            Some((given, ..)) if given.until.is_over(now) => ("EP0617", None),
            Some((_, _, asked)) if params.is_some_and(|params| params != asked) => {
                ("EP0618", Some(ViolationType::ApprovalBypass))
            }
            Some(_) if no_longer.is_some() => (no_longer.unwrap_or_default(), None),
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
        self.asks_without_lock(id);
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
        self.asks_without_lock(id);
        if let Some(refusal) = self.without_authority(id) {
            return Some(refusal);
        }
        let agent = self.agent(id)?;
        if !agent.executes() {
            return Some("EP0625");
        }
        if agent.performing.len() >= 2 {
            return Some("EP0630");
        }
        if let Some(refusal) = self.spend(id, permit, Some(params)) {
            return Some(refusal);
        }
        // Work on staging is out of reach from here: its permit is as good as it was.
        let here =
            self.agent(id)?.actions.thing(permit).is_some_and(|((_, target), _)| target == THIS_MACHINE);
        if let Some((given, Action::AnsibleRun, _)) = self.agent(id)?.actions.permit(permit).filter(|_| !here)
        {
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
        self.look_at_locks(id);
        if let Some(refusal) = self.without_authority(id) {
            return Some(refusal);
        }
        let agent = self.agent(id)?;
        if !agent.executes() {
            return Some("EP0625");
        }
        match agent.performing.get(&permit) {
            None => return Some("EP0614"),
            Some(true) => return Some("EP0616"),
            Some(false) => {}
        }
        // A third look, since opening a cage takes its time.
        if let Some(why) = self.no_longer(id, permit) {
            self.said.push(Word::NoGood(permit));
            return Some(why);
        }
        self.agent(id)?.performing.insert(permit, true);
        self.said.push(Word::LetGo(permit));
        None
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
    pub(super) fn violates(&mut self, id: AgentId, violation: ViolationType) {
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
