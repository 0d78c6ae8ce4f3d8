//! Which stage comes after which: what is required, circles, and what has surely ended before a stage starts.

use std::collections::BTreeMap;

use eparch_domain::Name;

use super::stages::Draft;
use crate::diagnostic::{Problems, codes};
use crate::model::StageIx;
use crate::nearest::nearest;
use crate::syntax::{Node, shown};

/// Resolves what each stage requires.
pub(super) fn requirements(drafts: &mut [Draft<'_>], problems: &mut Problems) {
    let named = drafts.iter().filter_map(|draft| Some(((draft.list(), draft.name.clone()?), draft.ix)));
    // Of two stages with one name the first counts; the second was told already.
    let mut siblings: BTreeMap<_, StageIx> = BTreeMap::new();
    named.for_each(|(key, ix)| {
        siblings.entry(key).or_insert(ix);
    });
    for at in 0..drafts.len() {
        let asked = drafts[at].node.get("requires").map_or(&[][..], Node::items);
        let mut found: Vec<StageIx> = Vec::new();
        for item in asked {
            if problems.is_crowded() {
                break;
            }
            let Some(name) = item.text().and_then(|name| Name::new(name).ok()) else { continue };
            let sibling =
                siblings.get(&(drafts[at].list(), name.clone())).filter(|sibling| sibling.at() != at);
            let required = sibling.copied().or_else(|| {
                nowhere(drafts, at, name.as_str(), item, problems);
                None
            });
            if let Some(required) = required {
                if found.contains(&required) {
                    problems.warning(
                        codes::REQUIRED_TWICE,
                        item.range.clone(),
                        format!("`{name}` is required twice"),
                    );
                } else {
                    found.push(required);
                }
            }
        }
        drafts[at].requires = found;
    }
    circles(drafts, problems);
}

/// Tells why a name is not that of another stage of the same list.
fn nowhere(drafts: &[Draft<'_>], at: usize, name: &str, item: &Node, problems: &mut Problems) {
    let here = &drafts[at];
    let range = item.range.clone();
    if here.name.as_ref().is_some_and(|own| own.as_str() == name) {
        problems.error(codes::SELF_REQUIREMENT, range, format!("`{name}` requires itself"));
        return;
    }
    let named = |draft: &&Draft<'_>| draft.name.as_ref().is_some_and(|known| known.as_str() == name);
    if let Some(elsewhere) = drafts.iter().find(named) {
        let message = format!("`{name}` is not in the same list of stages, so it cannot be required here");
        let problem = problems.error(codes::FOREIGN_REQUIREMENT, range, message);
        problem.related(elsewhere.name_range.clone(), "it stands here");
        // The stage around it that stands in the same list is what the author needs.
        let around = std::iter::successors(Some(elsewhere), |draft| drafts.get(draft.parent?.stage.at()));
        if let Some(name) =
            around.into_iter().find(|draft| draft.list() == here.list()).and_then(|draft| draft.name.as_ref())
        {
            if drafts[at].name.as_ref() != Some(name) {
                problem.hint(format!("require `{name}`, the stage around it"));
            }
        } else {
            problem.hint("stages of the same list can be required; what the stage around this one requires has ended already");
        }
        return;
    }
    let siblings: Vec<&str> = drafts
        .iter()
        .filter(|draft| draft.list() == here.list() && draft.ix != here.ix)
        .filter_map(|draft| draft.name.as_ref().map(Name::as_str))
        .collect();
    let problem =
        problems.error(codes::UNKNOWN_REQUIREMENT, range, format!("there is no stage `{}`", shown(name)));
    match nearest(name, siblings.iter().copied()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None if siblings.is_empty() => problem.hint("there is no other stage in this list"),
        None => problem.hint(format!("there are {}", some(&siblings))),
    };
}

/// A list of words, cut when there are many.
pub(super) fn some(words: &[&str]) -> String {
    match words.get(..8) {
        Some(first) if words.len() > 8 => format!("{} and {} more", first.join(", "), words.len() - 8),
        _ => words.join(", "),
    }
}

/// Tells every circle once, as long as there is room, and cuts it, so that later checks end.
fn circles(drafts: &mut [Draft<'_>], problems: &mut Problems) {
    // 0 not seen, 1 on the path, 2 done. Iterative: a chain may be as long as a pipeline.
    let mut state = vec![0u8; drafts.len()];
    for start in 0..drafts.len() {
        if state[start] != 0 {
            continue;
        }
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        state[start] = 1;
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            let Some(required) = drafts[at].requires.get(*next).copied() else {
                state[at] = 2;
                path.pop();
                continue;
            };
            *next += 1;
            match state[required.at()] {
                0 => {
                    state[required.at()] = 1;
                    path.push((required.at(), 0));
                }
                1 => {
                    if !problems.is_crowded() {
                        let begin = path.iter().position(|(on, _)| *on == required.at()).unwrap_or(0);
                        let circle: Vec<usize> = path[begin..].iter().map(|(on, _)| *on).collect();
                        tell(drafts, &circle, problems);
                    }
                    drafts[at].requires.retain(|other| *other != required);
                    if let Some((_, next)) = path.last_mut() {
                        *next -= 1;
                    }
                }
                _ => {}
            }
        }
    }
}

fn tell(drafts: &[Draft<'_>], circle: &[usize], problems: &mut Problems) {
    // Told from the stage that stands first in the file, whichever was met first.
    let first = circle.iter().enumerate().min_by_key(|(_, at)| **at).map_or(0, |(position, _)| position);
    let name = |at: usize| drafts[at].name.as_ref().map_or("?", Name::as_str);
    let mut names: Vec<&str> =
        (0..circle.len()).map(|step| name(circle[(first + step) % circle.len()])).collect();
    names.push(names[0]);
    let shown = if names.len() > 12 {
        format!("{} → … → {}", names[..6].join(" → "), names[names.len() - 3..].join(" → "))
    } else {
        names.join(" → ")
    };
    let at = circle[first];
    let next = names[1];
    let item = drafts[at]
        .node
        .get("requires")
        .and_then(|list| list.items().iter().find(|item| item.text() == Some(next)));
    let range = item.map_or(drafts[at].name_range.clone(), |item| item.range.clone());
    problems.error(codes::CYCLE, range, format!("these stages wait for each other: {shown}"));
}

/// For every stage, which others have surely ended when it starts.
pub(super) struct Before(Vec<Vec<bool>>);

impl Before {
    pub(super) fn of(drafts: &[Draft<'_>]) -> Before {
        let mut known: Vec<Option<Vec<bool>>> = vec![None; drafts.len()];
        for start in 0..drafts.len() {
            let mut todo = vec![start];
            while let Some(at) = todo.last().copied() {
                if known[at].is_some() {
                    todo.pop();
                    continue;
                }
                let draft = &drafts[at];
                let sources =
                    draft.parent.map(|parent| parent.stage).into_iter().chain(draft.requires.iter().copied());
                let waiting: Vec<usize> =
                    sources.map(StageIx::at).filter(|source| known[*source].is_none()).collect();
                if !waiting.is_empty() {
                    todo.extend(waiting);
                    continue;
                }
                let mut before = match draft.parent {
                    Some(parent) => known[parent.stage.at()].clone().unwrap_or_default(),
                    None => vec![false; drafts.len()],
                };
                for required in &draft.requires {
                    let others = known[required.at()].iter().flatten().enumerate();
                    others.filter(|(_, ended)| **ended).for_each(|(other, _)| before[other] = true);
                    // What a stage holds has ended when it has; nested stages stand directly behind it.
                    let inside = drafts[required.at()].last_inside.at();
                    before[required.at()..=inside].fill(true);
                }
                known[at] = Some(before);
                todo.pop();
            }
        }
        Before(known.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// True when `other` has ended, or was skipped, when `stage` starts.
    pub(super) fn ended(&self, other: StageIx, stage: StageIx) -> bool {
        self.0[stage.at()].get(other.at()).copied().unwrap_or(false)
    }
}
