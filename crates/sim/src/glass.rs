//! What holds of what two people let pass, by the recorded facts alone: that there are two of them, that what policies deny is done
//! under their grant only and while it lasts, and that nothing which runs outlasts it. And that a thing is one thing, whatever it
//! is called.

use std::collections::BTreeMap;

use eparch_domain::{Action, AgentId, BreakGlassId, Moment, Name, PermitId, RunId};
use eparch_governor::{BreakGlassAsked, Fact, GlassScope, Ruled, Until};
use eparch_policy::Decision as Says;

use crate::ends;
use crate::policies::Rules;
use crate::seen::{Seen, SeenPermit};
use crate::strings::Strings;

/// The project's folder of every world.
const PROJECT: &str = "/project/";

/// What a thing is, whatever somebody calls it.
pub(crate) fn one_thing(action: Action, target: &str) -> String {
    match action {
        Action::ReadFile | Action::WriteFile => {
            let path = target.strip_prefix(PROJECT).unwrap_or(target);
            path.strip_suffix('/').unwrap_or(path).to_owned()
        }
        Action::AnsibleRun | Action::ExecuteCommand => target.trim_end_matches('.').to_lowercase(),
        _ => target.to_owned(),
    }
}

/// A request or a grant, as the facts show it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SeenGlass {
    pub(crate) asked: BreakGlassAsked,
    /// After how many keys that were given.
    asked_after: u64,
    approved: Option<(Name, Moment)>,
    /// The run it is for, where it is for somebody's next one.
    next: Option<RunId>,
    over: bool,
}

/// What two people let pass, or are asked to, and who is whose puppet.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SeenGlasses {
    all: BTreeMap<BreakGlassId, SeenGlass>,
    strings: Strings,
    keys: u64,
    /// Who asked for each run, and after how many keys.
    requesters: BTreeMap<RunId, (Name, u64)>,
    /// What a permit is for that was given under a grant.
    under: BTreeMap<PermitId, (BreakGlassId, Action, String)>,
}

impl SeenGlasses {
    pub(crate) fn take(&mut self, fact: &Fact) {
        match fact {
            Fact::OperatorKnown { operator, by } => self.gives(&operator.name, by.as_ref()),
            Fact::OperatorRekeyed { name, by, .. } => self.gives(name, by.as_ref()),
            Fact::RunSpawned(spawned) => {
                drop(self.requesters.insert(spawned.run, (spawned.requester.clone(), self.keys)));
            }
            Fact::BreakGlassAsked(asked) => {
                let (asked, asked_after) = (asked.as_ref().clone(), self.keys);
                let glass = SeenGlass { asked_after, approved: None, next: None, over: false, asked };
                self.all.insert(glass.asked.grant, glass);
            }
            Fact::BreakGlassOpened { grant, by, expires, .. } => {
                if let Some(glass) = self.all.get_mut(grant) {
                    glass.approved = Some((by.clone(), *expires));
                }
            }
            Fact::BreakGlassBound { grant, run } => {
                if let Some(glass) = self.all.get_mut(grant) {
                    glass.next = Some(*run);
                }
            }
            Fact::BreakGlassOver { grant, .. } => {
                if let Some(glass) = self.all.get_mut(grant) {
                    glass.over = true;
                }
            }
            Fact::ActionDecided(ruled) => {
                if let (Some(given), Some(under)) = (ruled.permit, &ruled.break_glass) {
                    let thing = (under.grant, ruled.action, one_thing(ruled.action, &ruled.target));
                    self.under.insert(given.permit, thing);
                }
            }
            _ => {}
        }
    }

    /// The wall clock was set back.
    pub(crate) fn end_sooner(&mut self, now: Moment) {
        for (_, expires) in self.all.values_mut().filter_map(|glass| glass.approved.as_mut()) {
            let mut until = Until::from(*expires);
            ends::sooner(&mut until, now);
            expires.wall = until.wall.unwrap_or(expires.wall);
        }
    }

    fn gives(&mut self, to: &Name, by: Option<&Name>) {
        self.keys += 1;
        self.strings.give(to, by, self.keys);
    }

    /// Those whose wish it is: whoever asks, and whoever asked for the run or will.
    fn wishes<'g>(&'g self, glass: &'g SeenGlass, of_agent: Option<RunId>) -> Vec<(&'g Name, u64)> {
        let asked = (&glass.asked.by, glass.asked_after);
        let of_run = |run: &RunId| self.requesters.get(run).map(|(name, after)| (name, *after));
        let of = match &glass.asked.scope {
            GlassScope::NextRun { of } => Some((of, glass.asked_after)),
            GlassScope::Run { run } | GlassScope::Stage { run, .. } => of_run(run),
            GlassScope::Agent { .. } => of_agent.as_ref().and_then(of_run),
        };
        [asked].into_iter().chain(of).collect()
    }
}

/// What a fact may follow on.
///
/// # Errors
///
/// What does not hold, in words.
pub(crate) fn before(seen: &Seen, fact: &Fact, now: Moment) -> Result<(), String> {
    let wrong = match fact {
        Fact::BreakGlassOpened { grant, by, .. } => {
            let glass = seen.glasses.all.get(grant);
            glass.map_or(Some("what nobody asked for was let pass"), |glass| one_person(seen, glass, by))
        }
        Fact::BreakGlassBound { run, .. } if seen.looked_at.values().any(|looks| looks == run) => {
            Some("a run that nobody asked for took what was let pass for somebody's next one")
        }
        Fact::ActionDecided(ruled) => let_be_done(seen, ruled, now),
        Fact::PermitSpent { agent, permit }
        | Fact::PerformanceBegan { agent, permit, .. }
        | Fact::PerformanceReleased { agent, permit, .. } => lets_still(seen, *agent, *permit, now),
        Fact::PerformanceEnding { permit, .. } => {
            let over = |grant: &BreakGlassId| seen.glasses.all.get(grant).is_some_and(|glass| glass.over);
            let under = seen.glasses.under.get(permit).is_some_and(|(grant, ..)| over(grant));
            let runs = |known: &SeenPermit| known.is_performed() && known.released && !known.ending;
            match seen.permits.get(permit) {
                Some(known) if runs(known) && under => None,
                _ => Some("what runs under no grant that is over was ended for that"),
            }
        }
        _ => None,
    };
    wrong.map_or(Ok(()), |why| Err(format!("{why}: {fact:?}")))
}

fn one_person(seen: &Seen, glass: &SeenGlass, by: &Name) -> Option<&'static str> {
    let run = match &glass.asked.scope {
        GlassScope::Agent { agent } => seen.agents.get(agent).map(|of| of.run),
        _ => None,
    };
    let wishes = seen.glasses.wishes(glass, run);
    let may_be = |(asker, after): &(&Name, u64)| seen.glasses.strings.may_be(by, asker, *after);
    wishes.iter().any(may_be).then_some("what one person asked for the same one may have let pass")
}

/// What policies of these worlds deny is let be done under a grant, and what they let be done is not said to be under one.
fn let_be_done(seen: &Seen, ruled: &Ruled, now: Moment) -> Option<&'static str> {
    if !matches!(ruled.verdict.decision, Says::Allow | Says::Modify) {
        return ruled.break_glass.is_some().then_some("what was not let be done is said to be let pass");
    }
    let Some(under) = &ruled.break_glass else {
        let rules = seen.policies.and_then(Rules::of);
        let may = match ruled.action {
            Action::ReadFile => matches!(rules, Some(Rules::Defaults | Rules::Few)),
            // That people approved it is looked at with the permits.
            Action::AnsibleRun => ruled.approvals > 0 && rules != Some(Rules::Closed),
            _ => false,
        };
        return (!may).then_some("what policies deny was let be done, and nobody let it pass");
    };
    let glass = seen.glasses.all.get(&under.grant)?;
    let two = glass.approved.as_ref().is_some_and(|(by, _)| *by == under.approved_by)
        && glass.asked.by == under.requested_by;
    if !two {
        return Some("something was let pass by others than who did");
    }
    covers(seen, glass, ruled.agent, (ruled.action, &one_thing(ruled.action, &ruled.target)), now)
}

fn lets_still(seen: &Seen, agent: AgentId, permit: PermitId, now: Moment) -> Option<&'static str> {
    let (grant, action, target) = seen.glasses.under.get(&permit)?;
    covers(seen, seen.glasses.all.get(grant)?, agent, (*action, target), now)
}

/// Why a grant does not let this be done now, if it does not.
fn covers(
    seen: &Seen,
    glass: &SeenGlass,
    agent: AgentId,
    (action, target): (Action, &str),
    now: Moment,
) -> Option<&'static str> {
    let Some((_, expires)) = &glass.approved else { return Some("nobody has let it pass") };
    if glass.over || now.ledger >= expires.ledger || now.wall >= expires.wall {
        return Some("what let it pass is over");
    }
    let run = seen.agents.get(&agent).map(|of| of.run);
    let whom = match &glass.asked.scope {
        GlassScope::Run { run: of } | GlassScope::Stage { run: of, .. } => run == Some(*of),
        GlassScope::Agent { agent: of } => agent == *of,
        GlassScope::NextRun { .. } => run.is_some() && run == glass.next,
    };
    if !whom {
        return Some("it was let pass for somebody else");
    }
    let names = |action: Action, named: &str| (action, one_thing(action, named));
    let named = glass
        .asked
        .allows
        .iter()
        .any(|allowed| names(allowed.action, &allowed.target) == (action, target.to_owned()));
    (!named).then_some("something else was let pass")
}

/// Nothing runs on under a grant that is over, but for what ends already.
///
/// # Errors
///
/// What does.
pub(crate) fn standing(seen: &Seen) -> Result<(), String> {
    let outlasts = seen.glasses.under.iter().find(|(permit, (grant, ..))| {
        let runs = seen.permits.get(permit).is_some_and(|known| {
            let of = seen.agents.get(&known.agent).filter(|of| of.alive && !of.killed && !of.cut_off);
            known.is_performed() && known.released && !known.ending && of.is_some()
        });
        runs && seen.glasses.all.get(grant).is_some_and(|glass| glass.over)
    });
    outlasts.map_or(Ok(()), |(permit, (grant, ..))| Err(format!("what {permit} is for outlasts {grant}")))
}
