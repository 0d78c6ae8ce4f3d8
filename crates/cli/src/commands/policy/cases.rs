//! Test files: questions with the answers that are expected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use eparch_domain::{Action, limits};
use eparch_pipeline::Diagnostic;
use eparch_pipeline::diagnostic::Place;
use eparch_pipeline::document::{self, Content, Part};
use eparch_policy::{Decision, PolicySet, Problem, Request, Verdict};
use serde_json::{Value, json};

use super::question::{self, Asker, Known};
use crate::args::{Scope, Which};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::outln;
use crate::paint;

/// What is wrong with a test file itself, other than its YAML.
const BAD_CASE: &str = "EP0810";

/// `eparch policy test`.
pub(super) fn try_all(context: &Context, file: &Path, which: &Which) -> Result<u8, Failure> {
    let (name, text) = super::read(file)?;
    let cases = match read(&name, &text) {
        Ok(cases) => cases,
        Err(problems) => {
            if context.is_json() {
                print_json(&json!({ "valid": false, "problems": problems }))?;
            } else {
                super::tell(&problems);
            }
            return Ok(exit::BAD_DOCUMENT);
        }
    };
    let (policies, place) = super::load(context, which)?;
    let tried: Vec<Tried<'_>> = cases.iter().map(|case| case.tried(&policies)).collect();
    let failed = tried.iter().filter(|tried| tried.wrong.is_some()).count();
    let decided: BTreeSet<&str> =
        tried.iter().flat_map(|tried| &tried.verdict.policies).map(|id| &**id).collect();
    let watched = tried.iter().flat_map(|tried| &tried.verdict.shadowed).map(|shadow| &*shadow.policy);
    let mut would: BTreeMap<String, usize> = BTreeMap::new();
    for shadow in tried.iter().flat_map(|tried| &tried.verdict.shadowed) {
        *would.entry(format!("{} would say {}", shadow.policy, shadow.decision)).or_default() += 1;
    }
    let seen: BTreeSet<&str> = decided.into_iter().chain(watched).collect();
    let untried: Vec<&str> = policies.rules().map(|rule| &*rule.id).filter(|id| !seen.contains(id)).collect();
    if context.is_json() {
        let shown: Vec<Value> = tried.iter().map(Tried::to_json).collect();
        print_json(&json!({
            "valid": true, "passed": tried.len() - failed, "failed": failed, "place": place,
            "cases": shown, "untried_policies": untried, "watched": would,
        }))?;
    } else {
        tell(&name, &place, &tried, failed, &untried, context);
        would.iter().for_each(|(what, cases)| outln!("watched: {what} to {cases} of {} cases", tried.len()));
    }
    Ok(if failed == 0 { exit::DONE } else { exit::FAILED })
}

fn tell(name: &str, place: &str, tried: &[Tried<'_>], failed: usize, untried: &[&str], context: &Context) {
    let paint = paint::out();
    for Tried { case, verdict, wrong } in tried {
        let Some(wrong) = wrong else {
            if context.is_verbose() {
                outln!("{}: {}", paint.good("as expected"), paint::harmless(&case.name));
            }
            continue;
        };
        outln!("{}: {}", paint.bad("not as expected"), paint::harmless(&case.name));
        outln!("  --> {name}:{}:{}", case.place.line, case.place.column);
        outln!("  {wrong}");
        if !verdict.policies.is_empty() {
            outln!("  decided by {}", verdict.policies.join(", "));
        }
    }
    let how = if failed == 0 {
        paint.good("all as expected")
    } else {
        paint.bad(&format!("{failed} not as expected"))
    };
    outln!("{name}: {} cases, {how} ({place})", tried.len());
    if !untried.is_empty() && !context.is_quiet() {
        outln!("no case is decided by: {}", untried.join(", "));
    }
}

/// A question with what is expected.
struct Case {
    name: String,
    place: Place,
    request: Request,
    decision: Decision,
    reason: Option<String>,
    by: Vec<String>,
}

/// A case with what came out.
struct Tried<'c> {
    case: &'c Case,
    verdict: Verdict,
    wrong: Option<String>,
}

impl Case {
    fn tried(&self, policies: &PolicySet) -> Tried<'_> {
        let verdict = policies.decide(&self.request);
        let mut wrong = Vec::new();
        if verdict.decision != self.decision {
            wrong
                .push(format!("expected {}, found {} ({})", self.decision, verdict.decision, verdict.reason));
        } else if let Some(reason) = self.reason.as_deref().filter(|reason| *reason != &*verdict.reason) {
            wrong.push(format!("expected the reason {reason}, found {}", verdict.reason));
        }
        for id in self.by.iter().filter(|id| !verdict.policies.iter().any(|found| **found == **id)) {
            wrong.push(format!("expected {id} to decide"));
        }
        let wrong = (!wrong.is_empty()).then(|| wrong.join("; "));
        Tried { case: self, verdict, wrong }
    }
}

impl Tried<'_> {
    fn to_json(&self) -> Value {
        json!({
            "name": self.case.name,
            "line": self.case.place.line,
            "passed": self.wrong.is_none(),
            "wrong": self.wrong,
            "decision": self.verdict.decision,
            "reason_code": &*self.verdict.reason,
            "policies": self.verdict.policies.iter().map(|id| &**id).collect::<Vec<_>>(),
        })
    }
}

/// Reads a test file; every problem at once.
fn read(name: &str, text: &str) -> Result<Vec<Case>, Vec<Problem>> {
    let root = document::read(text)
        .map_err(|found| found.into_iter().map(|one| as_problem(name, one)).collect::<Vec<_>>())?;
    let mut reading = Reading { file: name, problems: Vec::new() };
    let cases = reading.file(&root);
    if reading.problems.is_empty() { Ok(cases) } else { Err(reading.problems) }
}

fn as_problem(file: &str, found: Diagnostic) -> Problem {
    let Diagnostic { code, message, span, hint, .. } = found;
    Problem { file: file.to_owned(), line: span.line, column: span.column, code, message, hint }
}

/// The fields of a case.
const FIELDS: [&str; 7] = ["name", "subject", "action", "resource", "scope", "context", "expect"];

struct Reading<'f> {
    file: &'f str,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn wrong(&mut self, place: Place, message: impl Into<String>, hint: &str) {
        // The first few hundred are what there is to read.
        if self.problems.len() < 200 {
            self.problems.push(Problem {
                file: self.file.to_owned(),
                line: place.line,
                column: place.column,
                code: BAD_CASE,
                message: message.into(),
                hint: (!hint.is_empty()).then(|| hint.to_owned()),
            });
        }
    }

    fn file(&mut self, root: &Part) -> Vec<Case> {
        let mut cases = Vec::new();
        let mut found = false;
        for (key, place, part) in self.entries(root, "the file", &["cases"]) {
            match &part.content {
                Content::List(items) if key == "cases" => {
                    found = true;
                    if items.len() > limits::POLICY_CASES {
                        let message = format!("a file has at most {} cases", limits::POLICY_CASES);
                        self.wrong(*place, message, "split it into several");
                        continue;
                    }
                    cases.extend(items.iter().filter_map(|item| self.case(item)));
                }
                _ => self.wrong(part.place, "`cases` is a list", ""),
            }
        }
        if cases.is_empty() && self.problems.is_empty() {
            let message = if found { "there is no case in the list" } else { "the file has no `cases`" };
            self.wrong(root.place, message, "a test that tests nothing would always pass");
        }
        cases
    }

    /// The entries of a map, those with unknown keys told and left out.
    fn entries<'p>(&mut self, part: &'p Part, what: &str, known: &[&str]) -> Vec<&'p (String, Place, Part)> {
        let Content::Map(entries) = &part.content else {
            self.wrong(part.place, format!("{what} is a map"), "");
            return Vec::new();
        };
        let mut found = Vec::new();
        for entry in entries {
            if known.contains(&entry.0.as_str()) {
                found.push(entry);
            } else {
                let message = format!("unknown field `{}` in {what}", eparch_domain::harmless(&entry.0));
                self.wrong(entry.1, message, &format!("fields are {}", known.join(", ")));
            }
        }
        found
    }

    fn case(&mut self, item: &Part) -> Option<Case> {
        let before = self.problems.len();
        let (mut name, mut resource) = (None, None);
        let (mut asker, mut action, mut scope) = (None, None, Scope::Own);
        let mut known = Known::default();
        let mut expected = None;
        for (key, _, part) in self.entries(item, "a case", &FIELDS) {
            match key.as_str() {
                "name" => name = self.text(part, "`name`"),
                "resource" => resource = self.text(part, "`resource`").map(|text| (text, part.place)),
                "subject" => {
                    let hint = "subjects are anonymous, T0 to T4, viewer, auditor, operator, approver, admin";
                    asker = self.word(part, "`subject`", hint, Asker::named);
                }
                "action" => {
                    let hint = format!("actions are {}", Action::NAMES.join(", "));
                    action = self.word(part, "`action`", &hint, |word| word.parse().ok());
                }
                "scope" => {
                    let hint = "scopes are own, project, shared, other-project, other-tenant, governance";
                    scope = self.word(part, "`scope`", hint, Scope::named).unwrap_or(scope);
                }
                "context" => {
                    for (key, place, value) in self.entries(part, "`context`", &Known::KEYS) {
                        if let Err(message) = known.set(key, &value.to_value()) {
                            self.wrong(*place, message, "");
                        }
                    }
                }
                _ => expected = self.expected(part),
            }
        }
        for (missing, field) in [
            (name.is_none(), "name"),
            (asker.is_none(), "subject"),
            (action.is_none(), "action"),
            (resource.is_none(), "resource"),
            (expected.is_none(), "expect"),
        ] {
            if missing && self.problems.len() == before {
                self.wrong(item.place, format!("the case has no `{field}`"), "");
            }
        }
        let (resource, at) = resource?;
        let made = question::request(asker?, action?, &resource, scope, &known);
        let request = match made {
            Ok(request) => request,
            Err(message) => {
                self.wrong(at, message, "");
                return None;
            }
        };
        let (decision, reason, by) = expected?;
        Some(Case { name: name?, place: item.place, request, decision, reason, by })
    }

    fn expected(&mut self, part: &Part) -> Option<(Decision, Option<String>, Vec<String>)> {
        let hint = "decisions are allow, modify, ask and deny";
        if matches!(part.content, Content::Scalar(_)) {
            return Some((self.word(part, "`expect`", hint, Decision::named)?, None, Vec::new()));
        }
        let (mut decision, mut reason, mut by) = (None, None, Vec::new());
        for (key, _, part) in self.entries(part, "`expect`", &["decision", "reason", "by"]) {
            match (key.as_str(), &part.content) {
                ("decision", _) => decision = self.word(part, "`decision`", hint, Decision::named),
                ("reason", _) => reason = self.text(part, "`reason`"),
                (_, Content::List(items)) => {
                    by = items.iter().filter_map(|item| self.text(item, "an item of `by`")).collect();
                }
                _ => self.wrong(part.place, "`by` is a list of policies", ""),
            }
        }
        if decision.is_none() {
            self.wrong(part.place, "`expect` has no `decision`", hint);
        }
        Some((decision?, reason, by))
    }

    fn text(&mut self, part: &Part, what: &str) -> Option<String> {
        match &part.content {
            Content::Scalar(Value::String(text)) => Some(text.clone()),
            _ => {
                self.wrong(part.place, format!("{what} is a text"), "put it in quotes");
                None
            }
        }
    }

    fn word<T>(
        &mut self,
        part: &Part,
        what: &str,
        hint: &str,
        named: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let word = self.text(part, what)?;
        let found = named(&word);
        if found.is_none() {
            self.wrong(part.place, format!("{what} cannot be {:?}", eparch_domain::harmless(&word)), hint);
        }
        found
    }
}
