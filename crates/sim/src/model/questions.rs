//! What agents have people asked: gates that open and close beside their stages, and what comes of the answers.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{Action, AgentId, Digest, GateId, LedgerTime, Name, RunId, limits};
use eparch_governor::{
    ActionAsked, Decision, Fact, GateAnswer, GateDecision, GateOpened, GatePurpose, Separation, Sought,
};
use eparch_pipeline::StageIx;

use super::actions::Word;
use super::agent::Agent;
use super::leases::Ends;
use super::{Doing, Model, OpenGate};

/// Where a request stands for which people are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waits {
    /// Nobody is asked, or not any more.
    No,
    /// For people.
    ForPeople(GateId),
    /// For the agent: so many said yes, and that counts until then.
    ForAgent(GateId, u32, Ends),
}

impl Agent {
    /// What an idle agent may still be, which does not get less while people are asked.
    fn idle_stops(&mut self, now: LedgerTime) {
        if let Some(at) = self.idle_by.take() {
            self.idle_left = Some(at.since(now));
        }
    }

    /// Nobody is asked at a gate any more; when it was the last, time goes on for the agent.
    pub(super) fn question_over(&mut self, gate: GateId, now: LedgerTime) {
        self.questions.remove(&gate);
        if self.questions.is_empty() && self.performing.is_empty() && self.works() {
            self.idle_by = self.idle_left.take().map(|left| now.after(left)).or(self.idle_by);
        }
    }
}

impl Model {
    /// Opens the gate that the decision must have opened just so; only its id is news, and what policy says would do.
    pub(super) fn question(&mut self, asked: &ActionAsked, decision: &Decision) -> Result<GateId, String> {
        let (id, now) = (asked.agent, self.now);
        let found = decision.facts.iter().find_map(|fact| match fact {
            Fact::GateOpened(opened) if opened.sought.as_ref().is_some_and(|sought| sought.agent == id) => {
                Some(opened.as_ref().clone())
            }
            _ => None,
        });
        let Some(opened) = found else { return Err(format!("nobody is asked for {asked:?}")) };
        let place = self.agents().find(|(_, _, agent)| agent.id == id).map(|(run, ix, _)| (run, ix));
        let (Some((run, stage)), Some(rules)) = (place, self.rules) else {
            return Err(format!("people are asked for {asked:?} without policies"));
        };
        let (of_run, cell) = (&self.runs[&run], &self.runs[&run].cells[stage.at()]);
        let Doing::Agent(agent) = &cell.doing else { return Err("an agent works nowhere".to_owned()) };
        let day = now.after(limits::GATE_TIMEOUT);
        let ends = [Some(day), Some(of_run.deadline), cell.until, agent.execute_by];
        let policy = rules.set().digest();
        let who = id.bits().to_be_bytes();
        let thing: [&[u8]; 6] = [
            b"action",
            &who,
            asked.action.as_str().as_bytes(),
            asked.target.as_bytes(),
            asked.params.as_bytes(),
            policy.as_bytes(),
        ];
        let sought = Sought {
            agent: id,
            action: asked.action,
            target: asked.target.clone(),
            params: asked.params,
            given: asked.given.clone(),
            policy,
            reason: "approval_needed".to_owned(),
            unlock: opened.sought.as_ref().and_then(|sought| sought.unlock.clone()),
        };
        let strict = Model::strictness(&of_run.pipeline);
        let expected = GateOpened {
            gate: opened.gate,
            run,
            stage,
            purpose: GatePurpose::Action,
            subject: Digest::of_parts(&thing),
            approvers: ["approver", "admin"].map(|role| Name::new(role).expect("a word is a name")).to_vec(),
            quorum: 1,
            requester: of_run.requester.clone(),
            separation: if strict { Separation::RemoteKey } else { Separation::SameHome },
            deadline: self.ends_by(ends.into_iter().flatten().min().unwrap_or(day)).until(),
            sought: Some(Box::new(sought)),
        };
        if opened != expected {
            return Err(format!("people are asked as they should not be: {opened:?}, expected {expected:?}"));
        }
        let gate = opened.gate;
        if let Some(agent) = self.agent(id) {
            agent.idle_stops(now);
            let open = OpenGate { opened, approvals: BTreeSet::new(), signed_with: BTreeMap::new() };
            agent.questions.insert(gate, open);
        }
        Ok(gate)
    }

    /// Whose question a gate is.
    pub(super) fn asker(&self, gate: GateId) -> Option<AgentId> {
        self.agents().find(|(_, _, agent)| agent.questions.contains_key(&gate)).map(|(_, _, agent)| agent.id)
    }

    /// Somebody answered, and may.
    pub(super) fn say(&mut self, id: AgentId, answer: &GateAnswer) {
        let now = self.now;
        let Some(agent) = self.agent(id) else { return };
        let Some(open) = agent.questions.get_mut(&answer.gate) else { return };
        open.approve(answer);
        let (yes, until) = (open.approvals.len(), Ends::until_of(&open.opened));
        let enough = yes >= usize::from(open.opened.quorum);
        match answer.decision {
            GateDecision::Approve if !enough => return,
            GateDecision::Approve => {
                let by = open.approvals.clone();
                let yes = u32::try_from(yes).unwrap_or(u32::MAX);
                agent.actions.approved(answer.gate, by);
                agent.actions.stands(answer.gate, Waits::ForAgent(answer.gate, yes, until));
            }
            GateDecision::Deny => {
                let run = open.opened.run;
                let thing = agent.actions.refuse(answer.gate);
                self.said.push(Word::Denied(false));
                if let Some(thing) = thing {
                    self.is_denied(run, answer.gate, thing);
                }
            }
        }
        self.question_is_over(id, answer.gate, false, now);
    }

    /// Somebody said no to a thing: it is denied in the whole run, and nobody is asked for it any more.
    fn is_denied(&mut self, run: RunId, gate: GateId, thing: (Action, String)) {
        let now = self.now;
        let (mut closed, mut others) = (Vec::new(), 0);
        let of_run: Vec<AgentId> =
            self.agents().filter(|(of, ..)| *of == run).map(|(_, _, agent)| agent.id).collect();
        for id in of_run {
            let Some(agent) = self.agent(id) else { continue };
            let asks_the_same = |open: &OpenGate| {
                let sought = open.opened.sought.as_deref();
                sought.is_some_and(|sought| (sought.action, &sought.target) == (thing.0, &thing.1))
            };
            let same: Vec<GateId> = agent
                .questions
                .iter()
                .filter(|(other, open)| **other != gate && asks_the_same(open))
                .map(|(other, _)| *other)
                .collect();
            for other in same {
                agent.actions.stands(other, Waits::No);
                agent.question_over(other, now);
                closed.push((other, false));
                others += 1;
            }
        }
        self.said.extend((0..others).map(|_| Word::Denied(false)));
        self.closed.extend(closed);
        if let Some(run) = self.runs.get_mut(&run) {
            run.denied.insert(thing);
        }
    }

    /// Somebody may act no longer: what they said where nothing has come of it yet, they have not said.
    pub(super) fn unsay(&mut self, name: &Name) {
        for run in self.runs.values_mut() {
            for cell in &mut run.cells {
                match &mut cell.doing {
                    Doing::Gate(gate) => gate.forget(name),
                    Doing::Agent(agent) => {
                        agent.questions.values_mut().for_each(|open| open.forget(name));
                        agent.actions.unsay(name);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Nobody has answered in time.
    pub(super) fn nobody_answered(&mut self, id: AgentId, gate: GateId) {
        let now = self.now;
        if let Some(agent) = self.agent(id) {
            agent.actions.stands(gate, Waits::No);
        }
        self.said.push(Word::Denied(true));
        self.question_is_over(id, gate, true, now);
    }

    fn question_is_over(&mut self, id: AgentId, gate: GateId, late: bool, now: LedgerTime) {
        if let Some(agent) = self.agent(id) {
            agent.question_over(gate, now);
        }
        self.closed.insert(gate, late);
    }

    /// Other policies: whatever waits for people or for its agent is void.
    pub(super) fn questions_are_void(&mut self) {
        let (now, mut closed) = (self.now, Vec::new());
        let mut void = 0;
        for agent in self.agents_mut().filter(|agent| agent.has_authority()) {
            let open: Vec<GateId> = agent.questions.keys().copied().collect();
            for gate in &open {
                agent.question_over(*gate, now);
            }
            void += agent.actions.give_up_waiting(&open);
            closed.extend(open);
        }
        self.said.extend((0..void).map(|_| Word::Denied(true)));
        self.closed.extend(closed.into_iter().map(|gate| (gate, false)));
    }

    /// Nobody is asked for what an agent can do no more.
    pub(super) fn withdraw(&mut self) {
        let mut closed = Vec::new();
        for agent in self.agents_mut().filter(|agent| !agent.may_come_back()) {
            closed.extend(std::mem::take(&mut agent.questions).into_keys());
        }
        self.closed.extend(closed.into_iter().map(|gate| (gate, false)));
    }

    /// The gates at which agents have people asked.
    pub(super) fn questions(&self) -> impl Iterator<Item = (RunId, StageIx, &OpenGate)> {
        self.agents().flat_map(|(run, ix, agent)| agent.questions.values().map(move |open| (run, ix, open)))
    }
}
