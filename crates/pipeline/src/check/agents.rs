//! Agent stages: what they run, as whom, and what they may do.

use std::collections::BTreeMap;

use eparch_domain::{Name, Span, Tier, limits};

use super::actions;
use super::config::{self, Config, Set};
use super::locks;
use super::names::Surroundings;
use super::shell;
use super::stages::Draft;
use crate::diagnostic::{Level, Problems, Range, codes};
use crate::model::{AgentWork, Budget, OnInterrupt, Retries, Runtime, SandboxMode};
use crate::nearest::nearest;
use crate::syntax::{Node, shown};
use crate::template::{Catalogue, Template};
use crate::text::Text;

/// Variables beside `EPARCH_…` that agents, and whoever verifies what they did, rely on.
const OURS: [&str; 3] = ["PIPELINE_ID", "HOME", "TMPDIR"];

/// Actions an agent can ask for by name; anything else is a tool of an MCP server, whose names are its own.
pub(crate) const ACTIONS: [&str; 26] = [
    "llm_chat",
    "call_tool",
    "read_file",
    "list_directory",
    "search_code",
    "generate_plan",
    "request_review",
    "execute_command",
    "write_file",
    "ansible_check",
    "ansible_run",
    "terraform_plan",
    "terraform_apply",
    "docker_run",
    "delete_production",
    "access_vault_root",
    "modify_governance",
    "spawn_agent",
    "acquire_lock",
    "read_secret",
    "approve",
    "revoke",
    "promote",
    "publish_template",
    "read_ledger",
    "accept_partial",
];

pub(super) fn agent(
    draft: &Draft<'_>,
    around: &Surroundings<'_, '_>,
    catalogue: &Catalogue,
    problems: &mut Problems,
) -> Option<AgentWork> {
    let template = match draft.node.get("template") {
        Some(node) => template(node, catalogue, problems)?,
        None => None,
    };
    let config = Config { own: draft.node.get("config"), template };
    let agent = Agent { draft, around, config };
    let tier = agent.tier(problems);
    let (runtime, command) = agent.command(problems);
    let objective = config.get("objective").and_then(|set| around.text(draft, set, problems));
    if runtime != Runtime::Process && config.get("objective").is_none() && config.own("command").is_none() {
        let range = config.own("runtime").map_or(draft.name_range.clone(), |node| node.range.clone());
        problems.error(codes::NO_OBJECTIVE, range, "a planner or council needs an `objective`");
    }
    let (timeout, attempt_timeout, start_timeout, idle_timeout) = agent.timeouts(problems);
    Some(AgentWork {
        template: template.map(Template::full_name).unwrap_or_default(),
        runtime,
        tier,
        objective,
        command,
        env: agent.env(problems),
        read: agent.paths("read", problems),
        write: agent.paths("write", problems),
        actions: actions::actions(draft, around, config, problems),
        tools: agent.tools(problems),
        model: config.get("model").and_then(|set| set.node.text()).map(str::to_owned),
        retries: Retries {
            max: config::integer(config.inner("retries", "max").map(|set| set.node)).unwrap_or(0),
            backoff: config::span(config.inner("retries", "backoff").map(|set| set.node), problems)
                .unwrap_or(limits::RETRY_BACKOFF),
        },
        on_interrupt: match config.get("on_interrupt").and_then(|set| set.node.text()) {
            Some("retry") => Some(OnInterrupt::Retry),
            Some("fail") => Some(OnInterrupt::Fail),
            Some("ask") => Some(OnInterrupt::Ask),
            _ => None,
        },
        egress: agent.egress(problems),
        secrets: agent.secrets(tier, problems),
        locks: locks::locks(draft, around, config, problems),
        verify: agent.verify(problems),
        continue_on_error: config
            .get("continue_on_error")
            .and_then(|set| set.node.scalar()?.value().as_bool())
            .unwrap_or(false),
        budget: Budget {
            tokens: config::integer(config.inner("budget", "tokens").map(|set| set.node)),
            dollars: config.inner("budget", "dollars").and_then(|set| set.node.scalar()?.value().as_f64()),
        },
        artifacts: agent.artifacts(problems),
        timeout,
        attempt_timeout,
        start_timeout,
        idle_timeout,
        sandbox: match config.get("sandbox").and_then(|set| set.node.text()) {
            Some("best-effort") => SandboxMode::BestEffort,
            _ => SandboxMode::Required,
        },
        files: template.map(|template| template.files().clone()).unwrap_or_default(),
    })
}

/// The outer `None` is a template that cannot be found; without it nothing more can be said about the stage.
#[expect(
    clippy::option_option,
    reason = "no template named, and a template that is not there, are two things"
)]
fn template<'c>(
    node: &Node,
    catalogue: &'c Catalogue,
    problems: &mut Problems,
) -> Option<Option<&'c Template>> {
    let Some(name) = node.text() else { return Some(None) };
    if let Some(found) = catalogue.find(name) {
        return Some(Some(found));
    }
    let names: Vec<&str> = catalogue.names().collect();
    let message = format!("there is no template `{}`", shown(name));
    let problem = problems.error(codes::UNKNOWN_TEMPLATE, node.range.clone(), message);
    let bare = name.split('@').next().unwrap_or(name);
    match nearest(bare, names.iter().copied()) {
        Some(near) if near == bare => {
            problem.hint(format!("it is there in version {}", catalogue.versions(near).join(", ")))
        }
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None if names.is_empty() => problem.hint("there are no templates"),
        None => problem.hint(format!("there are {}", names.join(", "))),
    };
    None
}

struct Agent<'a, 'n> {
    draft: &'a Draft<'n>,
    around: &'a Surroundings<'a, 'n>,
    config: Config<'a>,
}

impl Agent<'_, '_> {
    fn template_range(&self) -> Range {
        self.draft.node.get("template").map_or(self.draft.name_range.clone(), |node| node.range.clone())
    }

    fn tier(&self, problems: &mut Problems) -> Tier {
        let own = config::tier(self.config.own("tier"));
        let least = self.config.template.map(Template::tier);
        if let (Some(tier), Some(least), Some(node), Some(template)) =
            (own, least, self.config.own("tier"), self.config.template)
            && tier < least
        {
            let message =
                format!("{tier} is below the {least} that the template `{}` needs", template.name());
            problems.error(codes::BELOW_TEMPLATE, node.range.clone(), message);
        }
        own.or_else(|| config::tier(self.config.get("tier").map(|set| set.node)).max(least))
            .unwrap_or_default()
    }

    /// What carries the task out, and the program if it is one.
    fn command(&self, problems: &mut Problems) -> (Runtime, Vec<Text>) {
        let asked = self.config.get("runtime").map(|set| (set, set.node.text()));
        let (own, any) = (self.config.own("command"), self.config.get("command"));
        let runtime = match asked {
            Some((set, Some("planner"))) if set.own || own.is_none() => Runtime::Planner,
            Some((set, Some("council"))) if set.own || own.is_none() => Runtime::Council,
            Some((_, Some("process"))) => Runtime::Process,
            _ if any.is_some() => Runtime::Process,
            _ if self.config.get("objective").is_some() => Runtime::Planner,
            _ => Runtime::Process,
        };
        if runtime != Runtime::Process {
            if let Some(node) = own {
                problems
                    .error(codes::COMMAND_UNUSED, node.range.clone(), "a planner or council runs no command")
                    .hint("leave out `command`, or `runtime`");
            }
            return (runtime, Vec::new());
        }
        let Some(set) = any else {
            // A misspelt or misplaced `command` was told already.
            if problems.has_errors_in(&self.draft.node.range) {
                return (runtime, Vec::new());
            }
            let range = self
                .draft
                .node
                .get("template")
                .map_or(self.draft.name_range.clone(), |node| node.range.clone());
            problems
                .error(codes::NO_COMMAND, range, "this agent has no command to run")
                .hint("give its config a `command`, or an `objective` for a planner");
            return (runtime, Vec::new());
        };
        (runtime, self.words(set, problems))
    }

    /// One command: neither empty nor too long, and nothing from outside in its program text.
    fn words(&self, set: Set<'_>, problems: &mut Problems) -> Vec<Text> {
        let words = self.around.texts(self.draft, Some(set), problems);
        let range = if set.own { set.node.range.clone() } else { self.template_range() };
        let bytes: usize = words.iter().map(|word| word.source().len()).sum();
        if words.len() > limits::COMMAND_WORDS || bytes > limits::COMMAND_BYTES {
            let message = format!(
                "a command has at most {} words and {} bytes",
                limits::COMMAND_WORDS,
                limits::COMMAND_BYTES
            );
            problems.error(codes::LONG_COMMAND, range.clone(), message);
        }
        if words.first().is_some_and(|program| program.source().trim().is_empty()) {
            problems.error(codes::NO_COMMAND, range, "the command's program is empty");
        }
        if let Some(at) = shell::script(&words)
            && let (Some(script), Some(node)) = (words.get(at), set.node.items().get(at))
            && set.own
        {
            for (expr, start) in script.placed() {
                if !problems.takes(Level::Warning) {
                    break;
                }
                if let Some(name) = shell::untrusted(expr, self.around.inputs) {
                    let message =
                        format!("`{name}` becomes part of a program; whoever sets it can run anything here");
                    problems
                        .warning(codes::SHELL_SPLICE, node.inside(self.around.text, start), message)
                        .hint("pass it as an argument behind the script (\"$1\"), or in `env`");
                }
            }
        }
        words
    }

    fn verify(&self, problems: &mut Problems) -> Vec<Vec<Text>> {
        let Some(set) = self.config.get("verify") else { return Vec::new() };
        set.node.items().iter().map(|node| self.words(Set { node, own: set.own }, problems)).collect()
    }

    fn env(&self, problems: &mut Problems) -> BTreeMap<String, Text> {
        let template =
            self.config.template.and_then(|template| template.config()?.get("env")).map(|node| (node, false));
        let own = self.config.own("env").map(|node| (node, true));
        let mut env = BTreeMap::new();
        for (node, own) in template.into_iter().chain(own) {
            for entry in node.entries() {
                if entry.key.starts_with("EPARCH_") || OURS.contains(&entry.key.as_str()) {
                    let message = format!("`{}` is set by Eparch itself", shown(&entry.key));
                    problems.error(codes::RESERVED_ENV, entry.key_range.clone(), message);
                }
                if let Some(text) = self.around.text(self.draft, Set { node: &entry.value, own }, problems) {
                    env.insert(entry.key.clone(), text);
                }
            }
        }
        env
    }

    fn paths(&self, key: &str, problems: &mut Problems) -> Vec<Text> {
        let set = self.config.inner("paths", key);
        for item in set.iter().filter(|set| set.own).flat_map(|set| set.node.items()) {
            let Some(path) = item.text() else { continue };
            if path.is_empty() {
                problems.error(codes::BAD_PATH, item.range.clone(), "a path cannot be empty");
            } else if path.split('/').any(|part| part == "..") {
                let message = format!("`{}` climbs out of where it starts", shown(path));
                problems.error(codes::BAD_PATH, item.range.clone(), message).hint("write the absolute path");
            }
        }
        self.around.texts(self.draft, set, problems)
    }

    fn artifacts(&self, problems: &mut Problems) -> Vec<Text> {
        let set = self.config.get("artifacts");
        let mut seen: Vec<&str> = Vec::new();
        for item in
            set.iter().filter(|set| set.own).flat_map(|set| set.node.items()).take(limits::STAGE_ARTIFACTS)
        {
            let Some(path) = item.text() else { continue };
            let fault = if path.is_empty() {
                Some("an artifact's path cannot be empty".to_owned())
            } else if path.starts_with('/') || path.split('/').any(|part| part == "..") {
                Some(format!("`{}` is not inside the workspace; an artifact's path is relative", shown(path)))
            } else {
                None
            };
            if let Some(message) = fault {
                problems.error(codes::BAD_PATH, item.range.clone(), message);
            } else if seen.contains(&path.trim_start_matches("./")) {
                problems.warning(
                    codes::ARTIFACT_TWICE,
                    item.range.clone(),
                    format!("`{}` is listed twice", shown(path)),
                );
            }
            seen.push(path.trim_start_matches("./"));
        }
        if let Some(item) = set.and_then(|set| set.node.items().get(limits::STAGE_ARTIFACTS)) {
            let message = format!("a stage leaves at most {} artifacts", limits::STAGE_ARTIFACTS);
            problems.error(codes::TOO_MANY, item.range.clone(), message);
        }
        self.around.texts(self.draft, set, problems)
    }

    fn tools(&self, problems: &mut Problems) -> Vec<String> {
        let Some(own) = self.config.own("tools") else {
            let set = self.config.get("tools").map(|set| config::words(Some(set.node)));
            return set.or_else(|| Some(self.config.template?.tools().to_vec())).unwrap_or_default();
        };
        for item in own.items() {
            let Some(tool) = item.text().filter(|tool| !tool.contains(['*', '.', ':', '/', '-'])) else {
                continue;
            };
            if !ACTIONS.contains(&tool) {
                let problem = problems.warning(
                    codes::UNKNOWN_TOOL,
                    item.range.clone(),
                    format!("no action is called `{}`", shown(tool)),
                );
                problem.hint("a tool of an MCP server is written server/tool");
                problem.did_you_mean(tool, ACTIONS);
            }
        }
        config::words(Some(own))
    }

    fn egress(&self, problems: &mut Problems) -> Vec<String> {
        let set = self.config.get("egress");
        for item in set.iter().filter(|set| set.own).flat_map(|set| set.node.items()) {
            let port = item
                .text()
                .and_then(|place| place.rsplit_once(':'))
                .and_then(|(_, port)| port.parse::<u32>().ok());
            if let Some(port) = port.filter(|port| !(1..=65_535).contains(port)) {
                problems.error(codes::BAD_PORT, item.range.clone(), format!("there is no port {port}"));
            }
        }
        config::words(set.map(|set| set.node))
    }

    fn secrets(&self, tier: Tier, problems: &mut Problems) -> Vec<String> {
        let set = self.config.get("secrets");
        for item in set.iter().filter(|set| set.own).flat_map(|set| set.node.items()) {
            if let Some(path) =
                item.text().filter(|path| path.split('/').any(|part| matches!(part, "" | "." | "..")))
            {
                let message = format!("`{}` is not a path of names with `/` between them", shown(path));
                problems.error(codes::BAD_PATH, item.range.clone(), message);
            }
        }
        if let Some(own) =
            self.config.own("secrets").filter(|own| tier <= Tier::T1 && !own.items().is_empty())
        {
            let name = self.draft.name.as_ref().map_or("this stage", Name::as_str);
            let message = format!("`{name}` works at {tier}, where policy usually denies secrets");
            problems.warning(codes::SECRET_AT_LOW_TIER, own.range.clone(), message);
        }
        config::words(set.map(|set| set.node))
    }

    fn timeouts(&self, problems: &mut Problems) -> (Span, Option<Span>, Span, Option<Span>) {
        let span = |key: &str, problems: &mut Problems| {
            config::span(self.config.get(key).map(|set| set.node), problems)
        };
        let stage = span("timeout", problems);
        let whole = self.around.timeout;
        if let (Some(own), Some(whole), Some(node)) = (stage, whole, self.config.own("timeout"))
            && own > whole
        {
            let message = format!("the stage may take {own}, but the whole run only {whole}");
            problems.warning(codes::LONGER_THAN_PARENT, node.range.clone(), message);
        }
        let mut part = |key: &str| {
            let found = span(key, problems);
            if let (Some(found), Some(stage), Some(node)) = (found, stage, self.config.own(key))
                && found > stage
            {
                let message = format!("`{key}` is {found}, but the whole stage may take only {stage}");
                problems.warning(codes::LONGER_THAN_PARENT, node.range.clone(), message);
            }
            found
        };
        let (attempt, start, idle) = (part("attempt_timeout"), part("start_timeout"), part("idle_timeout"));
        (stage.unwrap_or(limits::STAGE_TIMEOUT), attempt, start.unwrap_or(limits::START_TIMEOUT), idle)
    }
}
