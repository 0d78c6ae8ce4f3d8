//! What a tier or a role may do, as a table, and the policies there are, as a list.

use std::collections::BTreeSet;

use eparch_domain::Action;
use eparch_policy::{Decision, PolicySet, ResourceKind, Rule, Verdict, kinds_of};
use serde_json::{Value, json};

use super::question::{self, Asker, Known};
use crate::args::{Scope, Which, Whom};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::outln;
use crate::paint;
use crate::table::{Table, plain};

/// `eparch policy show`.
pub(super) fn show(context: &Context, who: Option<Whom>, which: &Which) -> Result<u8, Failure> {
    let (policies, place) = super::load(context, which)?;
    match who {
        None => list(context, &policies, &place),
        Some(whom) => table(context, &policies, &place, whom),
    }
}

fn list(context: &Context, policies: &PolicySet, place: &str) -> Result<u8, Failure> {
    if context.is_json() {
        let rules: Vec<&Rule> = policies.rules().collect();
        print_json(&json!({ "place": place, "digest": policies.digest(), "policies": rules }))?;
        return Ok(exit::DONE);
    }
    let mut table = Table::new(&["POLICY", "SAYS", "REASON", "WHERE"]);
    for rule in policies.rules() {
        let says =
            if rule.shadow { format!("{} (watched)", rule.decision) } else { rule.decision.to_string() };
        let place = paint::harmless(&format!("{}:{}", rule.file, rule.line)).into_owned();
        table.row([plain(&*rule.id), plain(says), plain(&*rule.reason), plain(place)]);
    }
    table.print();
    outln!("{} policies of {place}, {}", policies.rules().len(), policies.digest());
    Ok(exit::DONE)
}

/// Whose a thing can be, in the order of the columns.
const SCOPES: [(Scope, &str); 4] = [
    (Scope::Own, "OWN"),
    (Scope::Project, "PROJECT'S"),
    (Scope::OtherProject, "OTHER PROJECT'S"),
    (Scope::Governance, "GOVERNANCE"),
];

/// What becomes of an action on something, by whose it is; nothing where it cannot be somebody's.
#[derive(Debug)]
struct Line {
    thing: String,
    verdicts: Vec<Option<Verdict>>,
}

impl Line {
    /// What a reader of the table sees.
    fn answers(&self) -> Vec<String> {
        self.verdicts.iter().map(|verdict| verdict.as_ref().map_or(String::new(), answer)).collect()
    }
}

/// Things that fare alike, on one line; what fares as "any path" does is said by that.
fn merged(lines: &[Line]) -> Vec<(String, &Line)> {
    let mut groups: Vec<(String, &Line)> = Vec::new();
    for line in lines {
        match groups.iter_mut().find(|(_, other)| other.answers() == line.answers()) {
            Some((label, _)) if label.starts_with("any ") && !line.thing.starts_with("any ") => {}
            Some((label, _)) => *label = format!("{label}, {}", line.thing),
            None => groups.push((line.thing.clone(), line)),
        }
    }
    groups
}

fn table(context: &Context, policies: &PolicySet, place: &str, whom: Whom) -> Result<u8, Failure> {
    let asker = match whom {
        Whom::Tier(tier) => Asker::Agent(tier),
        Whom::Role(role) => Asker::Operator(role),
    };
    let name = match whom {
        Whom::Tier(tier) => format!("{tier}, {}", tier.name()),
        Whom::Role(role) => role.as_str().to_owned(),
    };
    let all: Vec<(Action, Vec<Line>)> =
        Action::ALL.iter().map(|action| (*action, lines(policies, asker, *action))).collect();
    if context.is_json() {
        let rows: Vec<Value> =
            all.iter().flat_map(|(action, lines)| lines.iter().map(|line| line.to_json(*action))).collect();
        print_json(&json!({ "who": name, "place": place, "digest": policies.digest(), "rows": rows }))?;
        return Ok(exit::DONE);
    }
    outln!("What {name} may do in EXECUTE, with an accepted plan and nobody's approval yet ({place})");
    outln!();
    let mut heads = vec!["ON"];
    heads.extend(SCOPES.map(|(_, head)| head));
    let mut table = Table::new(&heads);
    for (actions, lines) in alike(&all) {
        let paint = paint::out();
        let names: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
        // The names stand above the columns, not in one of them.
        table.heading(&paint.bold(&names.join(", ")));
        for (label, line) in merged(lines) {
            let mut row = vec![plain(format!("  {label}"))];
            row.extend(line.verdicts.iter().map(|verdict| verdict.as_ref().map_or_else(|| plain(""), cell)));
            table.row(row);
        }
    }
    table.print();
    outln!();
    outln!("-  nothing permits it; `eparch policy explain` says why, and what would");
    if let Whom::Role(_) = whom {
        outln!(
            "What a person does their role has to let them do as well, to which no policy adds (docs/policy.md)"
        );
    }
    tell_deciders(policies, &all);
    Ok(exit::DONE)
}

/// Actions that fare alike, with how; in the order of the first of each.
fn alike(all: &[(Action, Vec<Line>)]) -> Vec<(Vec<Action>, &[Line])> {
    let seen = |lines: &[Line]| -> Vec<(String, Vec<String>)> {
        merged(lines).into_iter().map(|(label, line)| (label, line.answers())).collect()
    };
    let mut groups: Vec<(Vec<Action>, &[Line])> = Vec::new();
    for (action, lines) in all {
        match groups.iter_mut().find(|(_, others)| seen(others) == seen(lines)) {
            Some((actions, _)) => actions.push(*action),
            None => groups.push((vec![*action], lines)),
        }
    }
    groups
}

/// The policies that say never, ask or modify in the table, with what would unlock them.
fn tell_deciders(policies: &PolicySet, all: &[(Action, Vec<Line>)]) {
    let lines = all.iter().flat_map(|(_, lines)| lines);
    let verdicts = lines.flat_map(|line| &line.verdicts).flatten();
    let others = verdicts.filter(|verdict| verdict.decision != Decision::Allow);
    let ids: BTreeSet<&str> = others.flat_map(|verdict| &verdict.policies).map(|id| &**id).collect();
    for rule in ids.into_iter().filter_map(|id| policies.rule(id)) {
        let says = match rule.decision {
            Decision::Deny => "never",
            other => other.as_str(),
        };
        let unlock = rule.unlock.as_deref().map(|unlock| format!("; unlocked by {unlock}"));
        let unlock = unlock.unwrap_or_default();
        outln!("{says}  {} ({}){}", rule.id, rule.reason, paint::harmless(&unlock));
    }
}

/// What becomes of an action on anything of its kind, and on everything that a policy names and that fares otherwise.
fn lines(policies: &PolicySet, asker: Asker, action: Action) -> Vec<Line> {
    let known = Known::default();
    let ask = |kind: ResourceKind, name: &str, scope: Scope| {
        // What governs is nobody's own.
        let fits = kind != ResourceKind::Governance || scope == Scope::Governance;
        // Where one kind alone fits, what stands before a colon is a part of the name.
        let text = match kinds_of(action) {
            [_] => name.to_owned(),
            _ => format!("{}:{name}", kind.as_str()),
        };
        let request = question::request(asker, action, &text, scope, &known).ok();
        request.filter(|_| fits).map(|request| policies.decide(&request))
    };
    let mut lines: Vec<Line> = Vec::new();
    for kind in kinds_of(action) {
        let word = kind.as_str();
        let things: Vec<(String, String)> = match kind {
            ResourceKind::Agent => {
                (0..=4).map(|tier| (format!("{ANY}@T{tier}"), format!("agent of T{tier}"))).collect()
            }
            _ => {
                let named = policies.names_of(*kind).into_iter();
                let named = named.map(|name| (name.replace('*', ANY), format!("{word} {name}")));
                std::iter::once((ANY.to_owned(), format!("any {word}"))).chain(named).collect()
            }
        };
        for (name, thing) in things {
            let verdicts = SCOPES.iter().map(|(scope, _)| ask(*kind, &name, *scope)).collect();
            lines.push(Line { thing, verdicts });
        }
    }
    lines
}

/// A name that no policy means.
const ANY: &str = "0";

/// A verdict in a word.
fn answer(verdict: &Verdict) -> String {
    match verdict.decision {
        Decision::Deny if &*verdict.reason == eparch_policy::reasons::NO_POLICY_ALLOWS => "-".to_owned(),
        Decision::Deny => "never".to_owned(),
        Decision::Allow | Decision::Ask => verdict.decision.to_string(),
        Decision::Modify => {
            let changes: Vec<&str> = verdict.changes.iter().map(|change| change.as_str()).collect();
            changes.join(", ")
        }
    }
}

fn cell(verdict: &Verdict) -> (String, String) {
    let (paint, text) = (paint::out(), answer(verdict));
    let shown = match verdict.decision {
        Decision::Allow => paint.good(&text),
        Decision::Deny if text == "-" => text.clone(),
        Decision::Deny => paint.bad(&text),
        Decision::Ask | Decision::Modify => paint.warn(&text),
    };
    (text, shown)
}

impl Line {
    fn to_json(&self, action: Action) -> Value {
        let told = SCOPES.iter().zip(&self.verdicts).filter_map(|((scope, _), verdict)| {
            let name = match scope {
                Scope::Own => "own",
                Scope::OtherProject => "other_project",
                Scope::Governance => "governance",
                _ => "project",
            };
            let verdict = verdict.as_ref()?;
            let policies: Vec<&str> = verdict.policies.iter().map(|id| &**id).collect();
            let answer = json!({ "decision": verdict.decision, "reason_code": &*verdict.reason, "policies": policies });
            Some((name.to_owned(), answer))
        });
        let told: serde_json::Map<String, Value> = told.collect();
        json!({ "action": action, "on": self.thing, "verdicts": told })
    }
}
