//! Stages: found in every list, named once, put in order, and then looked at one by one.

use std::cell::RefCell;
use std::collections::BTreeMap;

use eparch_domain::{Name, Span, StageKind, limits};

use super::names::Surroundings;
use super::order::{self, Before};
use super::{Known, agents, config, gates};
use crate::diagnostic::{Problems, Range, codes};
use crate::model::{Branch, ConditionWork, InputSpec, OnFailure, ParallelWork, Parent, Stage, StageIx, Work};
use crate::syntax::Node;
use crate::template::Catalogue;

/// A stage as it stands in the file.
pub(super) struct Draft<'n> {
    pub(super) ix: StageIx,
    pub(super) node: &'n Node,
    pub(super) name: Option<Name>,
    /// Where its name stands, or the stage when it has none.
    pub(super) name_range: Range,
    pub(super) kind: Option<StageKind>,
    pub(super) parent: Option<Parent>,
    pub(super) requires: Vec<StageIx>,
    /// The last stage inside it; itself when there is none.
    pub(super) last_inside: StageIx,
    /// The stages directly in each of its lists.
    lists: Vec<Vec<StageIx>>,
}

impl Draft<'_> {
    /// The list it stands in.
    pub(super) fn list(&self) -> Option<(StageIx, u16)> {
        self.parent.map(|parent| (parent.stage, parent.list))
    }
}

/// Checks every stage. `None` when there are too many to look at.
pub(super) fn stages(
    text: &str,
    root: &Node,
    inputs: &BTreeMap<String, InputSpec>,
    timeout: Option<Span>,
    catalogue: &Catalogue,
    known: &Known,
    problems: &mut Problems,
) -> Option<Vec<Stage>> {
    let mut drafts = Vec::new();
    collect(root.get("stages").map_or(&[][..], Node::items), None, &mut drafts, problems)?;
    names(&drafts, problems);
    order::requirements(&mut drafts, problems);
    let before = Before::of(&drafts);
    let (fuel, env) = (RefCell::default(), known.env.as_ref());
    let around = Surroundings { text, inputs, drafts: &drafts, before: &before, timeout, fuel, env };
    let work: Vec<Option<Work>> = drafts
        .iter()
        .map(|draft| match draft.kind? {
            StageKind::Agent => {
                agents::agent(draft, &around, catalogue, problems).map(|agent| Work::Agent(Box::new(agent)))
            }
            StageKind::Gate => Some(Work::Gate(gates::gate(draft, &around, known, problems))),
            StageKind::Parallel => Some(Work::Parallel(parallel(draft, problems))),
            StageKind::Condition => condition(draft, &around, problems).map(Work::Condition),
        })
        .collect();
    gates::councils(&work, &drafts, &before, problems);
    let made = drafts.iter().zip(work).map(|(draft, work)| {
        Some(Stage {
            name: draft.name.clone()?,
            parent: draft.parent,
            requires: draft.requires.clone(),
            work: work?,
        })
    });
    made.collect()
}

fn collect<'n>(
    items: &'n [Node],
    parent: Option<Parent>,
    drafts: &mut Vec<Draft<'n>>,
    problems: &mut Problems,
) -> Option<Vec<StageIx>> {
    let mut found = Vec::new();
    for node in items {
        let place =
            u16::try_from(drafts.len()).ok().filter(|place| usize::from(*place) < limits::PIPELINE_STAGES);
        let Some(ix) = place.map(StageIx) else {
            let message = format!("a pipeline has at most {} stages", limits::PIPELINE_STAGES);
            problems.error(codes::TOO_MANY, node.range.clone(), message);
            return None;
        };
        found.push(ix);
        let name = node.get("name");
        drafts.push(Draft {
            ix,
            node,
            name: name.and_then(|name| Name::new(name.text()?).ok()),
            name_range: name.map_or(node.range.start..node.range.start, |name| name.range.clone()),
            kind: config::word(node.get("type")),
            parent,
            requires: Vec::new(),
            last_inside: ix,
            lists: Vec::new(),
        });
        let lists: Vec<&Node> = match drafts[ix.at()].kind {
            Some(StageKind::Parallel) => node
                .get("branches")
                .map_or(&[][..], Node::items)
                .iter()
                .map(|branch| branch.get("stages").unwrap_or(branch))
                .collect(),
            Some(StageKind::Condition) => {
                ["then", "else"].iter().map(|list| node.get(list).unwrap_or(node)).collect()
            }
            _ => Vec::new(),
        };
        for (list, items) in (0u16..).zip(lists) {
            let inside = collect(items.items(), Some(Parent { stage: ix, list }), drafts, problems)?;
            drafts[ix.at()].lists.push(inside);
        }
        let last = drafts.last().expect("this stage is there").ix;
        drafts[ix.at()].last_inside = last;
    }
    Some(found)
}

fn names(drafts: &[Draft<'_>], problems: &mut Problems) {
    let mut first: BTreeMap<&Name, &Draft<'_>> = BTreeMap::new();
    for draft in drafts {
        let Some(name) = &draft.name else { continue };
        match first.get(name) {
            Some(earlier) => {
                let message =
                    format!("there are two stages called `{name}`; names are unique in the whole file");
                problems
                    .error(codes::NAME_TWICE, draft.name_range.clone(), message)
                    .related(earlier.name_range.clone(), "the first one");
            }
            None => {
                first.insert(name, draft);
            }
        }
    }
}

fn parallel(draft: &Draft<'_>, problems: &mut Problems) -> ParallelWork {
    let nodes = draft.node.get("branches").map_or(&[][..], Node::items);
    let mut branches: Vec<Branch> = Vec::new();
    for (node, stages) in nodes.iter().zip(&draft.lists) {
        let Some(name) = node.get("name").and_then(|name| Name::new(name.text()?).ok()) else { continue };
        if branches.iter().any(|branch| branch.name == name) {
            let range = node.get("name").map_or(node.range.clone(), |name| name.range.clone());
            problems.error(codes::NAME_TWICE, range, format!("there are two branches called `{name}`"));
        }
        branches.push(Branch { name, stages: stages.clone() });
    }
    let config = draft.node.get("config");
    let on_failure = match config.and_then(|config| config.get("on_failure")?.text()) {
        Some("wait_all") => OnFailure::WaitAll,
        _ => OnFailure::FailFast,
    };
    let max_concurrency = config::integer(config.and_then(|config| config.get("max_concurrency")));
    ParallelWork { branches, max_concurrency, on_failure }
}

fn condition(
    draft: &Draft<'_>,
    around: &Surroundings<'_, '_>,
    problems: &mut Problems,
) -> Option<ConditionWork> {
    let (then, otherwise) = (draft.lists.first()?.clone(), draft.lists.get(1)?.clone());
    let written = draft.node.get("if")?;
    if then.is_empty()
        && otherwise.is_empty()
        && draft.node.get("then").is_some_and(|then| then.items().is_empty())
    {
        problems.warning(
            codes::EMPTY_STAGE,
            written.range.clone(),
            "neither list of this condition has a stage",
        );
    }
    let condition = around.condition(draft, written, problems)?;
    let constant = around.constant(&condition);
    if let Some(truth) = constant {
        problems.warning(codes::CONSTANT, written.range.clone(), format!("this condition is always {truth}"));
        for never in if truth { &otherwise } else { &then } {
            let draft = &around.drafts[never.at()];
            let name = draft.name.as_ref().map_or("this stage", Name::as_str);
            let message = format!("`{name}` never starts: the condition around it is always {truth}");
            problems.warning(codes::UNREACHABLE, draft.name_range.clone(), message);
        }
    }
    Some(ConditionWork { condition, then, otherwise })
}
