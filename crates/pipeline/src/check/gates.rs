//! Gates: who may approve, and which council is waited for.

use eparch_domain::{Name, limits};

use super::names::Surroundings;
use super::order::Before;
use super::stages::Draft;
use super::{Known, config};
use crate::diagnostic::{Problems, codes};
use crate::model::{GateType, GateWork, OnTimeout, Runtime, Work};
use crate::nearest::nearest;
use crate::syntax::{Node, shown};

/// More people than this are a group.
const MOST_APPROVERS: usize = 100;

pub(super) fn gate(
    draft: &Draft<'_>,
    around: &Surroundings<'_, '_>,
    known: &Known,
    problems: &mut Problems,
) -> GateWork {
    let config = draft.node.get("config");
    let get = |key: &str| config.and_then(|config| config.get(key));
    let gate_type = match get("gate_type").and_then(Node::text) {
        Some("consensus") => GateType::Consensus,
        _ => GateType::Approval,
    };
    let approvers = approvers(get("approvers"), known, problems);
    let quorum: u16 = config::integer(get("quorum")).unwrap_or(1);
    match gate_type {
        GateType::Approval => {
            if approvers.is_empty()
                && config.is_some()
                && get("approvers").is_none_or(|list| list.items().is_empty())
            {
                let range = get("approvers").map_or(draft.name_range.clone(), |list| list.range.clone());
                problems
                    .error(
                        codes::NO_APPROVERS,
                        range,
                        "nobody may approve this gate, so it could only time out",
                    )
                    .hint("name operators, groups or roles: approvers: [team-lead]");
            }
            if let Some(node) = get("of") {
                let message = "`of` has no effect on an approval gate";
                problems
                    .warning(codes::FIELD_UNUSED, node.range.clone(), message)
                    .hint("set gate_type: consensus");
            }
            if let Some(node) =
                get("quorum").filter(|_| usize::from(quorum) > approvers.len() && !approvers.is_empty())
            {
                let message =
                    format!("{quorum} approvals are needed, {} approvers are listed", approvers.len());
                problems
                    .warning(codes::LARGE_QUORUM, node.range.clone(), message)
                    .hint("that works only when one of them is a group or role with enough members");
            }
        }
        GateType::Consensus => {
            for key in ["approvers", "quorum"] {
                if let Some(node) = get(key) {
                    let message = format!("`{key}` has no effect on a consensus gate");
                    problems.warning(codes::FIELD_UNUSED, node.range.clone(), message);
                }
            }
        }
    }
    let timeout = config::span(get("timeout"), problems);
    if let (Some(own), Some(whole), Some(node)) = (timeout, around.timeout, get("timeout"))
        && own > whole
    {
        let message = format!("the gate waits {own}, but the whole run may take only {whole}");
        problems.warning(codes::LONGER_THAN_PARENT, node.range.clone(), message);
    }
    let on_timeout = match get("on_timeout").and_then(Node::text) {
        Some("skip") => OnTimeout::Skip,
        _ => OnTimeout::Fail,
    };
    let of = get("of").filter(|_| gate_type == GateType::Consensus).and_then(|node| {
        let name = node.text()?;
        around
            .drafts
            .iter()
            .find(|other| other.name.as_ref().is_some_and(|known| known.as_str() == name))
            .map(|other| other.ix)
    });
    GateWork {
        gate_type,
        approvers,
        quorum,
        timeout: timeout.unwrap_or(limits::GATE_TIMEOUT),
        on_timeout,
        of,
    }
}

fn approvers(list: Option<&Node>, known: &Known, problems: &mut Problems) -> Vec<Name> {
    let mut found: Vec<Name> = Vec::new();
    let items = list.map_or(&[][..], Node::items);
    if let Some(item) = items.get(MOST_APPROVERS) {
        let message = format!("a gate lists at most {MOST_APPROVERS} approvers");
        problems.error(codes::TOO_MANY, item.range.clone(), message).hint("name a group or a role");
    }
    for item in items.iter().take(MOST_APPROVERS) {
        let Some(name) = item.text().and_then(|name| Name::new(name).ok()) else { continue };
        if found.contains(&name) {
            problems.warning(codes::APPROVER_TWICE, item.range.clone(), format!("`{name}` is listed twice"));
            continue;
        }
        if let Some(approvers) = &known.approvers
            && !approvers.contains(name.as_str())
        {
            let message = format!("no operator, group or role is called `{name}`");
            let problem = problems.warning(codes::UNKNOWN_APPROVER, item.range.clone(), message);
            match nearest(name.as_str(), approvers.iter().map(String::as_str)) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint(format!("add one: eparch operator add {name} --role approver")),
            };
        }
        found.push(name);
    }
    found
}

/// A consensus gate waits for a council that has been asked before.
pub(super) fn councils(
    work: &[Option<Work>],
    drafts: &[Draft<'_>],
    before: &Before,
    problems: &mut Problems,
) {
    let is_council = |draft: &&Draft<'_>| matches!(&work[draft.ix.at()], Some(Work::Agent(agent)) if agent.runtime == Runtime::Council);
    let names = || drafts.iter().filter(is_council).filter_map(|draft| draft.name.as_ref().map(Name::as_str));
    for (draft, work) in drafts.iter().zip(work) {
        let Some(Work::Gate(GateWork { gate_type: GateType::Consensus, of, .. })) = work else { continue };
        let node = draft.node.get("config").and_then(|config| config.get("of"));
        let range = node.map_or(draft.name_range.clone(), |node| node.range.clone());
        let named = node.and_then(Node::text).map(shown);
        match (of, named) {
            (None, None) => {
                let problem = problems.error(
                    codes::BAD_COUNCIL,
                    range,
                    "a consensus gate needs `of`, the council it waits for",
                );
                if let Some(council) = names().next() {
                    problem.hint(format!("of: {council}"));
                }
            }
            (None, Some(name)) => {
                problems
                    .error(codes::BAD_COUNCIL, range, format!("there is no stage `{name}`"))
                    .did_you_mean(&name, names());
            }
            (Some(of), _) => {
                let council = &drafts[of.at()];
                let name = council.name.as_ref().map_or("it", Name::as_str);
                if !is_council(&council) {
                    let message = format!("`{name}` is not a council, so it reaches no consensus");
                    problems
                        .error(codes::BAD_COUNCIL, range, message)
                        .hint("give it the config `runtime: council`");
                } else if !before.ended(*of, draft.ix) {
                    let message = format!("`{name}` need not have been asked when this gate is reached");
                    problems
                        .error(codes::BAD_COUNCIL, range, message)
                        .hint(format!("add it: `requires: [{name}]`"));
                }
            }
        }
    }
}
