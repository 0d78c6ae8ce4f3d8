//! The fields of a pipeline file and of a template, each with what it may hold and what it is for.

use eparch_domain::name::NAME_MAX;
use eparch_domain::{Name, Profile, Span, limits};

use crate::shape::{Field, Form, Object, Shape, Variants};

const fn field(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, required: false, shape, about }
}

const fn required(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, required: true, shape, about }
}

fn all(text: &str, fits: impl Fn(char) -> bool) -> bool {
    text.chars().all(fits)
}

fn word(text: &str, first: impl Fn(char) -> bool, rest: impl Fn(char) -> bool) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(first) && letters.all(rest)
}

static PIPELINE_NAME: Form = Form {
    what: "a name of a–z, 0–9 and `-`, at most 64 long",
    pattern: "^[a-z0-9][a-z0-9-]{0,63}$",
    fits: |text| {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        text.len() <= 64 && word(text, letter, |c| letter(c) || c == '-')
    },
};
static NAME: Form = Form {
    what: "a name of letters, digits, `.`, `_` and `-`, at most 64 long",
    pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
    fits: |text| Name::new(text).is_ok(),
};
static DURATION: Form = Form {
    what: "a duration above zero such as 30s, 10m, 2h or 1d",
    pattern: "^0*[1-9][0-9]*(ms|s|m|h|d)$",
    fits: |text| written_span(text) && text.trim_start_matches('0').starts_with(|c: char| c.is_ascii_digit()),
};
static WAIT: Form =
    Form { what: "a duration such as 0s, 5s or 1m", pattern: "^[0-9]+(ms|s|m|h|d)$", fits: written_span };

/// Has the form of a duration, whether or not it is too long.
fn written_span(text: &str) -> bool {
    !matches!(text.parse::<Span>(), Err(eparch_domain::span::BadSpan::Shape))
}

static INPUT_NAME: Form = Form {
    what: "a name of letters, digits, `_` and `-`, beginning with a letter or `_`, at most 64 long",
    pattern: "^[A-Za-z_][A-Za-z0-9_-]{0,63}$",
    fits: |text| {
        text.len() <= NAME_MAX
            && word(
                text,
                |c| c.is_ascii_alphabetic() || c == '_',
                |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'),
            )
    },
};
static VARIABLE: Form = Form {
    what: "a variable's name: letters, digits and `_`, not beginning with a digit",
    pattern: "^[A-Za-z_][A-Za-z0-9_]*$",
    fits: |text| {
        word(text, |c| c.is_ascii_alphabetic() || c == '_', |c| c.is_ascii_alphanumeric() || c == '_')
    },
};
static VERSION: Form = Form {
    what: "a version of letters, digits, `.`, `_`, `+` and `-`, at most 64 long",
    pattern: "^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$",
    fits: |text| {
        text.len() <= NAME_MAX
            && word(
                text,
                |c| c.is_ascii_alphanumeric(),
                |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-'),
            )
    },
};
static TEMPLATE_NAME: Form = Form {
    what: "a template's name, or name@version",
    pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$",
    fits: |text| text.splitn(2, '@').all(|part| Name::new(part).is_ok()),
};
static HOST_AND_PORT: Form = Form {
    what: "host:port, as in api.example.org:443",
    pattern: r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$",
    fits: |text| {
        let Some((host, port)) = text.rsplit_once(':') else { return false };
        let port_fits = (1..=5).contains(&port.len()) && all(port, |c| c.is_ascii_digit());
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        port_fits
            && match inside {
                Some(address) => {
                    !address.is_empty() && all(address, |c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'))
                }
                None => {
                    word(
                        host,
                        |c| c.is_ascii_alphanumeric(),
                        |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'),
                    ) && host.ends_with(|c: char| c.is_ascii_alphanumeric())
                }
            }
    },
};
static SECRET: Form = Form {
    what: "a secret's path, as in inventory/hosts",
    pattern: "^[A-Za-z0-9_][A-Za-z0-9_./-]*$",
    fits: |text| {
        let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
        word(text, first, |c| first(c) || matches!(c, '.' | '/' | '-'))
    },
};
static TOOL: Form = Form {
    what: "a tool's name, `*` standing for any rest",
    pattern: "^[A-Za-z0-9_*][A-Za-z0-9_.:/*-]*$",
    fits: |text| {
        let first = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '*');
        word(text, first, |c| first(c) || matches!(c, '.' | ':' | '/' | '-'))
    },
};
static MODEL: Form = Form {
    what: "a model's name, as in anthropic/claude-sonnet-4",
    pattern: "^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$",
    fits: |text| {
        let rest =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '@' | '+' | '-');
        word(text, |c| c.is_ascii_alphanumeric(), rest)
    },
};
static FILE: Form = Form {
    what: "a relative path of letters, digits, `.`, `_`, `-` and `/`",
    pattern: "^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$",
    fits: |text| {
        text.split('/').all(|part| {
            !part.is_empty() && all(part, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        })
    },
};

static A_NAME: Shape = Shape::Form(&NAME);
static WORDS: Shape = Shape::List(&Shape::Text, 1);

/// A pipeline file.
pub(crate) static PIPELINE: Object = Object {
    name: "a pipeline",
    fields: &[
        required("name", Shape::Form(&PIPELINE_NAME), "What the pipeline is called."),
        field("version", Shape::Written(&VERSION), "Its author's version; 1.0 when left out."),
        field("description", Shape::Text, "What it is for."),
        field("timeout", Shape::Form(&DURATION), "How long a run may take; 24h when left out."),
        field(
            "profile",
            Shape::Word(Profile::NAMES),
            "How strict its runs are; it can only tighten the project's own.",
        ),
        field("inputs", Shape::Map(&INPUT_NAME, &Shape::Object(&INPUT)), "What a run is given."),
        field("budget", Shape::Object(&BUDGET), "What a run may spend."),
        required(
            "stages",
            Shape::List(&Shape::Variants(&STAGE), 1),
            "What is done. `requires` gives the order; a stage without it starts at once.",
        ),
    ],
};

static INPUT: Object = Object {
    name: "an input",
    fields: &[
        field(
            "type",
            Shape::Word(&["string", "integer", "number", "boolean"]),
            "Its type; string when left out.",
        ),
        field("enum", Shape::List(&Shape::Scalar, 1), "The values it may have."),
        field("default", Shape::Scalar, "Its value when none is given; without one a run must be given it."),
        field("description", Shape::Text, "What it means."),
    ],
};

static BUDGET: Object = Object {
    name: "a budget",
    fields: &[
        field("tokens", Shape::Integer(0, MOST_TOKENS), "Tokens."),
        field("dollars", Shape::Amount, "United States dollars."),
    ],
};

/// A stage; its fields depend on its type.
pub(crate) static STAGE: Variants = Variants {
    name: "a stage",
    tag: "type",
    about: "agent runs an agent, gate waits for people or a council, parallel runs branches side by side, condition chooses.",
    variants: &[("agent", &AGENT), ("gate", &GATE), ("parallel", &PARALLEL), ("condition", &CONDITION)],
};

const fn stage_name() -> Field {
    required("name", Shape::Form(&NAME), "What the stage is called; unique in the whole file.")
}

const fn requires() -> Field {
    field("requires", Shape::List(&A_NAME, 0), "Stages of the same list that must complete first.")
}

static AGENT: Object = Object {
    name: "an agent stage",
    fields: &[
        stage_name(),
        requires(),
        field(
            "template",
            Shape::Form(&TEMPLATE_NAME),
            "The template it is made from; its own `config` wins.",
        ),
        field("config", Shape::Object(&AGENT_CONFIG), "What it does and what it may do."),
    ],
};
static GATE: Object = Object {
    name: "a gate",
    fields: &[
        stage_name(),
        requires(),
        required("config", Shape::Object(&GATE_CONFIG), "Whom it waits for."),
    ],
};
static PARALLEL: Object = Object {
    name: "a parallel stage",
    fields: &[
        stage_name(),
        requires(),
        required("branches", Shape::List(&Shape::Object(&BRANCH), 1), "The branches."),
        field("config", Shape::Object(&PARALLEL_CONFIG), "How they run."),
    ],
};
static CONDITION: Object = Object {
    name: "a condition",
    fields: &[
        stage_name(),
        requires(),
        required("if", Shape::Text, "An expression that is true or false."),
        required("then", Shape::List(&Shape::Variants(&STAGE), 0), "The stages when it is true."),
        field("else", Shape::List(&Shape::Variants(&STAGE), 0), "The stages when it is false."),
    ],
};

static BRANCH: Object = Object {
    name: "a branch",
    fields: &[
        required("name", Shape::Form(&NAME), "What the branch is called."),
        required("stages", Shape::List(&Shape::Variants(&STAGE), 1), "Its stages."),
    ],
};
static PARALLEL_CONFIG: Object = Object {
    name: "a parallel stage's config",
    fields: &[
        field(
            "max_concurrency",
            Shape::Integer(1, 1_000),
            "How many branches may work at once; all when left out.",
        ),
        field(
            "on_failure",
            Shape::Word(&["fail_fast", "wait_all"]),
            "What a stage that fails means for the other branches and the rest of its own; fail_fast cancels them.",
        ),
    ],
};
static GATE_CONFIG: Object = Object {
    name: "a gate's config",
    fields: &[
        field(
            "gate_type",
            Shape::Word(&["approval", "consensus"]),
            "What it waits for; approval when left out.",
        ),
        field(
            "approvers",
            Shape::List(&Shape::Form(&NAME), 0),
            "Operators, groups or roles who may approve.",
        ),
        field("quorum", Shape::Integer(1, 1_000), "How many approvals it takes; 1 when left out."),
        field("timeout", Shape::Form(&DURATION), "How long it waits; 24h when left out."),
        field("on_timeout", Shape::Word(&["fail", "skip"]), "What happens then; fail when left out."),
        field("of", Shape::Form(&NAME), "The council stage a consensus gate waits for."),
    ],
};

/// An agent's config, in a stage and in a template.
pub(crate) static AGENT_CONFIG: Object = Object {
    name: "an agent's config",
    fields: &[
        field("tier", Shape::Tier, "The highest tier it works at; its template's, or 0."),
        field(
            "timeout",
            Shape::Form(&DURATION),
            "How long the stage may take, all attempts included; 2h when left out.",
        ),
        field("attempt_timeout", Shape::Form(&DURATION), "How long one attempt may take."),
        field(
            "start_timeout",
            Shape::Form(&DURATION),
            "How long it may take to be ready; 60s when left out.",
        ),
        field(
            "idle_timeout",
            Shape::Form(&DURATION),
            "How long it may go without progress before it loses its token and is ended.",
        ),
        field("objective", Shape::Text, "What it is to achieve."),
        field(
            "command",
            Shape::List(&Shape::Text, 1),
            "Its program and arguments, one word each; never a shell line.",
        ),
        field("env", Shape::Map(&VARIABLE, &Shape::Text), "Its own environment variables."),
        field("paths", Shape::Object(&PATHS), "What it may read and write."),
        field(
            "actions",
            Shape::List(&Shape::Text, 0),
            "What else it may ask for, each an action and a target: `ansible_run sandbox-*`.",
        ),
        field("tools", Shape::List(&Shape::Form(&TOOL), 0), "Tools it may ask for."),
        field("model", Shape::Form(&MODEL), "The model a planner or council uses."),
        field("retries", Shape::Object(&RETRIES), "How a failed attempt is followed by another."),
        field(
            "runtime",
            Shape::Word(&["process", "planner", "council"]),
            "What carries it out; process when there is a command, planner otherwise.",
        ),
        field(
            "on_interrupt",
            Shape::Word(&["retry", "fail", "ask"]),
            "What happens to an attempt whose end nobody saw; retry at T0 and T1, ask from T2 on.",
        ),
        field(
            "egress",
            Shape::List(&Shape::Form(&HOST_AND_PORT), 0),
            "Places it may reach through the daemon; none when left out.",
        ),
        field("secrets", Shape::List(&Shape::Form(&SECRET), 0), "Secrets it may read under a permit."),
        field(
            "locks",
            Shape::List(&Shape::Text, 0),
            "Names of locks it holds while it works: of the attempts that name one, one works at a time.",
        ),
        field("verify", Shape::List(&WORDS, 0), "Commands that check its result."),
        field(
            "continue_on_error",
            Shape::Boolean,
            "Whether the run goes on as if it had completed when it fails.",
        ),
        field("budget", Shape::Object(&BUDGET), "What it may spend."),
        field("artifacts", Shape::List(&Shape::Text, 0), "Files it must leave, relative to its workspace."),
        field(
            "sandbox",
            Shape::Word(&["required", "best-effort"]),
            "Whether missing confinement refuses; required when left out.",
        ),
    ],
};
static PATHS: Object = Object {
    name: "paths",
    fields: &[
        field("read", Shape::List(&Shape::Text, 0), "What it may read."),
        field(
            "write",
            Shape::List(&Shape::Text, 0),
            "What it may write: folders, which are made where they are missing, and files that are there.",
        ),
    ],
};
static RETRIES: Object = Object {
    name: "retries",
    fields: &[
        field("max", Shape::Integer(0, MOST_RETRIES), "Attempts after the first; 0 when left out."),
        field(
            "backoff",
            Shape::Form(&WAIT),
            "The wait before the first retry, doubled each time; 5s when left out.",
        ),
    ],
};
const MOST_RETRIES: i64 = limits::MAX_RETRIES as i64;
/// Up to here every reader of JSON counts exactly.
const MOST_TOKENS: i64 = (1 << 53) - 1;

/// A template file.
pub(crate) static TEMPLATE: Object = Object {
    name: "a template",
    fields: &[
        required("name", Shape::Form(&NAME), "What the template is called."),
        field("version", Shape::Written(&VERSION), "Its version; 1.0 when left out."),
        field("description", Shape::Text, "What it is for."),
        field("tier", Shape::Tier, "The lowest tier a stage made from it works at; 0 when left out."),
        field("tools", Shape::List(&Shape::Form(&TOOL), 0), "Tools it may ask for."),
        field(
            "config",
            Shape::Object(&AGENT_CONFIG),
            "What a stage made from it does unless it says otherwise.",
        ),
        field("files", Shape::Map(&FILE, &Shape::Text), "Files put into the workspace."),
        field(
            "files_from",
            Shape::Form(&FILE),
            "A folder beside the template whose files are put into `.agent/`.",
        ),
    ],
};
